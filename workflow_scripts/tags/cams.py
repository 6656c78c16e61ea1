"""Compute class activation maps of the images' tags, summed over several scales and the mirrored image.

In: index, id list, classifier.
Out: class activation maps, at a quarter of the working size, and optionally at the working size.
Source: `step/make_cam.py` of jiwoon-ahn/irn.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input, scaled
from maskmill.methods.cam import merge_scales
from maskmill.networks.classifier import Classifier
from maskmill.networks.device import inference_device
from maskmill.networks.norms import fuse_norms
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    maps: str,
    scales: list[float],
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
    full_maps: str | None = None,
) -> None:
    """Compute the maps of the images of one part.

    Args:
        checkpoint: safetensors file of the trained classifier.
        maps: map store to write: per image float16 [k, ceil(H/4), ceil(W/4)] in 0..1, one plane per tag, each divided
            by its maximum; attribute `classes` holds the mask ids of the planes.
        full_maps: another map store to write, in which maps are [k, H, W], see `maskmill.methods.cam.merge_scales`.
    """
    records = read_index(index)
    device = inference_device()
    classifier = prepared(load_network(checkpoint, Classifier)).to(device)
    origin = {"producer": "cams", "parameters": {"scales": scales, "short_side": short_side}, "inputs": [checkpoint]}
    with ExitStack() as stack:
        store = stack.enter_context(create_maps(maps, "cam", **origin))
        full_store = None if full_maps is None else stack.enter_context(create_maps(full_maps, "cam", **origin))
        for image_id in progress(shard(read_ids(ids), scatteritem), f"cams {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            size, classes = image.shape[:2], records[image_id].classes
            of_scales = scale_maps(classifier, image, scales)
            store.write(image_id, merge_scales(of_scales, size, classes).half().cpu().numpy(), classes=classes)
            if full_store is not None:
                full = merge_scales(of_scales, size, classes, full=True)
                full_store.write(image_id, full.half().cpu().numpy(), classes=classes)


def prepared(classifier: Classifier) -> Classifier:
    """The classifier in a form that takes three quarters of the time on a CPU; its maps are equal up to rounding."""
    fuse_norms(classifier)
    return classifier.to(memory_format=torch.channels_last)


def activation_maps(
    classifier: Classifier, image: np.ndarray, scales: Sequence[float], classes: Sequence[int]
) -> Tensor:
    """float [len(classes), ceil(H/4), ceil(W/4)] in 0..1 of an image uint8 [H, W, 3]."""
    return merge_scales(scale_maps(classifier, image, scales), image.shape[:2], classes)


def scale_maps(classifier: Classifier, image: np.ndarray, scales: Sequence[float]) -> list[Tensor]:
    """Maps of all classes, float [C, h, w] at each scale, of an image uint8 [H, W, 3]."""
    backbone, size = classifier.backbone, image.shape[:2]
    device = classifier.classifier.weight.device
    inputs = (network_input(image, backbone.mean, backbone.std, scaled(size, scale)) for scale in scales)
    return [classifier.cam(pixels.to(device)) for pixels in inputs]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
