"""Segment a video or a folder of images with an exported network (.onnx).

By hand: maskmill segment models/p2at_s.onnx clip.mp4 overlays.mp4
         maskmill segment models/p2at_s.onnx photos overlays
In: `model`, an ONNX file below models/; `source`. Out: `output`, the frames (an .mp4 file) or the images (a folder of
PNG files) with the colours of the classes laid over them. Frames and files that cannot be read are skipped and counted.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.data.images import SUFFIXES, image_files, output_names, readable
from maskmill.data.videos import change_frames
from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.reporting.overlay import painted
from maskmill.storage.atomic import atomic_path
from maskmill.storage.onnx_models import OnnxModel

logger = logging.getLogger(__name__)

Overlay = Callable[[np.ndarray], np.ndarray]  # lays the classes over an image, uint8 [H, W, 3]


def main(
    model: str, source: str, output: str, short_side: int | None = None, opacity: float = 0.5, threads: int = 0
) -> None:
    """Lay the classes that a network predicts over every frame or image.

    Args:
        model: ONNX file that the workflow exported, e.g. models/p2at_s.onnx
        source: video file, or folder of images
        output: .mp4 file for a video, folder for a folder
        short_side: pixels that the short side of a larger picture is shrunk to for the network; default: the working
            size of its training
        opacity: of the colours, 0 (invisible) to 1
        threads: number of CPU threads; 0: all cores
    """
    if not 0 <= opacity <= 1:
        raise InputError(f"--opacity: {opacity} lies outside 0..1; correct it")
    if short_side is not None and short_side < 1:
        raise InputError(f"--short-side: {short_side} pixels; give 1 or more")
    if threads < 0:
        raise InputError(f"--threads: {threads}; give 0 for all cores, or more")
    network = OnnxModel(model, threads)
    colours, background = np.array(network.colours, np.uint8), network.classes[:1] == ["background"]

    def overlay(image: np.ndarray) -> np.ndarray:
        return painted(image, network.labels(image, short_side), colours, opacity, background=background)

    if not Path(source).exists():
        raise InputError(f"{source}: no such video or folder of images; correct --source")
    if Path(source).is_file() and Path(source).suffix.lower() in SUFFIXES and Path(source).suffix.lower() != ".gif":
        raise InputError(f"{source}: is one image; give the folder that it lies in")
    if Path(output).resolve() == Path(source).resolve():
        raise InputError(f"{output}: overlays would replace the originals; give another --output")
    segment = segment_folder if Path(source).is_dir() else segment_video
    written, skipped = segment(Path(source), Path(output), overlay)
    logger.info("%s: %d pictures, %d skipped as unreadable", output, written, skipped)


def segment_folder(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Write an overlay per image of a folder; returns the numbers of images written and skipped."""
    files, written = image_files(source), 0
    names = output_names(files)
    for file, image in readable(progress(files, source.name)):
        with atomic_path(output / f"{names[file]}.png") as temporary:
            Image.fromarray(overlay(image)).save(temporary, format="PNG")
        written += 1
    if not written:
        raise InputError(f"{source}: none of its {len(files)} images can be read; replace them")
    return written, len(files) - written


def segment_video(source: Path, output: Path, overlay: Overlay) -> tuple[int, int]:
    """Write a video of overlays; returns the numbers of frames written and skipped."""
    if output.suffix.lower() != ".mp4":
        raise InputError(f"{output}: videos are written as MP4; name it .mp4")
    written, skipped = change_frames(source, output, overlay)
    if skipped:
        logger.warning("skipped: %s: %d of %d frames cannot be read", source, skipped, written + skipped)
    return written, skipped
