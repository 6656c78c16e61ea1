"""Export a trained segmentation network as ONNX and compare it with the network on real images.

In: index, id list, checkpoint.
Out: an ONNX file, with batch norms and other constants folded; see `maskmill.networks.deploy.export_onnx`. Its metadata
    name the classes, their colours, the input that the network takes, and the training that it comes from.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn

from maskmill.data.catalog import colours_of, find_dataset
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import to_tensor
from maskmill.errors import InputError
from maskmill.networks.deploy import FromColours, deployed, export_onnx
from maskmill.networks.segmentation import load_segmentation
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.storage.maps import sha256
from maskmill.storage.onnx_models import OnnxModel
from maskmill.workflow import stage

logger = logging.getLogger(__name__)


def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    model: str,
    scale: str,
    seed: int,
    images: int = 8,
    agreement: float = 99.99,
    short_side: int | None = None,
    threads: int = 1,
) -> None:
    """Export the network and check the exported file.

    Args:
        checkpoint: safetensors file of a trained segmentation network.
        model: ONNX file to write.
        scale: scale of the training, for the metadata: sample, small or paper.
        seed: seed of the training, for the metadata.
        images: number of images to compare on, evenly spaced in the list.
        agreement: percent of the images' pixels that must keep their class.
        threads: threads of onnxruntime.
    """
    network, about = load_segmentation(checkpoint), find_dataset(dataset, index)
    description = {
        "dataset": dataset,
        "classes": about.classes,
        "colours": colours_of(about).tolist(),
        "short_side": short_side,
        "scale": scale,
        "seed": seed,
        "checkpoint_sha256": sha256(checkpoint),
    }
    image_ids, records = read_ids(ids), read_index(index)
    image_ids = image_ids[:: max(1, len(image_ids) // images)][:images]
    with atomic_path(model) as path:
        export_onnx(deployed(network), path, description)
        files = [records[image_id].image for image_id in image_ids]
        percent, difference = compare(network, OnnxModel(path, threads), files, short_side)
        if percent < agreement:
            raise InputError(
                f"{checkpoint}: exported, {percent:.4f} % of the pixels of {len(image_ids)} images keep their class, "
                f"not {agreement} %; report this network"
            )
    logger.info(
        "%s: same class on %.4f %% of the pixels of %d images, logits differ by %.1e at most",
        *(model, percent, len(image_ids), difference),
    )


@torch.inference_mode()
def compare(network: nn.Module, exported: OnnxModel, files: list[Path], short_side: int | None) -> tuple[float, float]:
    """Percent of the images' pixels that get the same class from both, and the largest difference of the logits."""
    reference, agreements, differences = FromColours(network), [], []
    for file in progress(files, "compare"):
        pixels = to_tensor(read_image(file, short_side))[None]
        expected, exported_logits = reference(pixels).numpy(), exported.logits(pixels.numpy())
        agreements.append((expected.argmax(axis=1) == exported_logits.argmax(axis=1)).mean())
        differences.append(np.abs(expected - exported_logits).max())
    return 100 * float(np.mean(agreements)), float(max(differences))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
