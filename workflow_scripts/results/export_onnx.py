"""Export a trained segmentation network as ONNX, everything folded, and compare it with the network on real images.

In: checkpoint, index, id list. Out: an ONNX file (`networks.deploy.export_onnx`). Params: `images`, how many of the
list are compared; `agreement`, the least share of their pixels, percent, that must get the same class.
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
from maskmill.storage.onnx_models import OnnxModel
from maskmill.workflow import stage

logger = logging.getLogger(__name__)


def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    model: str,
    images: int = 8,
    agreement: float = 99.99,
    short_side: int | None = None,
    threads: int = 1,
) -> None:
    network, about = load_segmentation(checkpoint), find_dataset(dataset, index)
    description = {
        "dataset": dataset,
        "classes": about.classes,
        "colours": colours_of(about).tolist(),
        "short_side": short_side,
    }
    chosen, records = read_ids(ids), read_index(index)
    chosen = chosen[:: max(1, len(chosen) // images)][:images]
    with atomic_path(model) as path:
        export_onnx(deployed(network), path, description)
        files = [records[image_id].image for image_id in chosen]
        percent, difference = compare(network, OnnxModel(path, threads), files, short_side)
        if percent < agreement:
            raise InputError(
                f"{checkpoint}: exported, {percent:.4f} % of the pixels of {len(chosen)} images keep their class, not "
                f"{agreement} %; report this network"
            )
    logger.info(
        "%s: same class on %.4f %% of the pixels of %d images, logits differ by %.1e at most",
        *(model, percent, len(chosen), difference),
    )


@torch.inference_mode()
def compare(network: nn.Module, exported: OnnxModel, files: list[Path], short_side: int | None) -> tuple[float, float]:
    """Percent of the images' pixels that both give the same class, and the largest difference of the logits."""
    reference, same, differences = FromColours(network), [], []
    for file in progress(files, "compare"):
        pixels = to_tensor(read_image(file, short_side))[None]
        own, other = reference(pixels).numpy(), exported.logits(pixels.numpy())
        same.append((own.argmax(axis=1) == other.argmax(axis=1)).mean())
        differences.append(np.abs(own - other).max())
    return 100 * float(np.mean(same)), float(max(differences))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
