"""Segmentation networks as ONNX files, run by ONNX Runtime, without PyTorch."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from maskmill.data.images import resized
from maskmill.errors import InputError
from maskmill.storage.access import check_readable


class OnnxModel:
    """A network that `networks.deploy.export_onnx` wrote.

    Args:
        path: the ONNX file.
        threads: of the CPU; 0: all cores.

    Attributes:
        classes: names, in the order of the class ids.
        colours: RGB in 0..255, in the order of the class ids.
        short_side: working size of the images that the network was trained on, see `read_image`; None: full size.
        on_gpu: whether the network runs on a GPU.

    Raises:
        InputError: the file is missing, broken, or not of this project.
    """

    def __init__(self, path: str | Path, threads: int = 0):
        check_readable(path, "no such model; run snakemake to make it")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to others
        try:
            self.session = onnxruntime.InferenceSession(path, options, onnxruntime.get_available_providers())
            about = self.session.get_modelmeta().custom_metadata_map
            self.classes, self.colours, self.short_side = (
                json.loads(about[key]) for key in ("classes", "colours", "short_side")
            )
        except KeyError as error:
            raise InputError(
                f"{path}: an ONNX file without {error}; give one of models/, which snakemake makes"
            ) from None
        except Exception as error:  # ONNX Runtime has no common class for its own
            raise InputError(f"{path}: not a readable ONNX file ({str(error).splitlines()[0]})") from None
        self.on_gpu = "CUDAExecutionProvider" in self.session.get_providers()

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Logits, float32 [B, K, H, W], of images RGB float32 [B, 3, H, W] in 0..1; the file holds the normalisation.

        Raises:
            ValueError: values are outside 0..1, as those of 0..255 and of normalised images are.
        """
        if pixels.min() < 0 or pixels.max() > 1:
            raise ValueError(
                f"pixels in {pixels.min():g}..{pixels.max():g}; give RGB in 0..1, which is 0..255 divided by 255, "
                "without normalisation"
            )
        return self.session.run(["logits"], {"image": pixels})[0]

    def labels(self, image: np.ndarray, short_side: int | None = None) -> np.ndarray:
        """Class ids uint8 [H, W] of an image uint8 [H, W, 3] of any size.

        Args:
            short_side: pixels that the shorter side of larger images is shrunk to for the network; None: as in
                training. The labels have the image's own size.
        """
        height, width = image.shape[:2]
        size = resized(height, width, short_side or self.short_side)
        shrunk = Image.fromarray(image)
        if size != (height, width):
            shrunk = shrunk.resize(size[::-1], Image.Resampling.BOX)
        pixels = np.asarray(shrunk, np.float32).transpose(2, 0, 1)[None] / 255
        labels = Image.fromarray(self.logits(np.ascontiguousarray(pixels))[0].argmax(axis=0).astype(np.uint8))
        return np.array(labels.resize((width, height), Image.Resampling.NEAREST))
