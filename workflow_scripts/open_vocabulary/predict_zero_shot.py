"""Label images from segments and the vectors of classes, without training on these classes.

In: index, id list, a network with segments, vectors of the classes.
Out: labels, with and without a background, and those of a classifier of whole images.
Source: the zero-shot inference of NVlabs/GroupViT.
"""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.methods.zero_shot import zero_shot_logits
from maskmill.networks.device import inference_device
from maskmill.networks.open_vocabulary import image_logits, load_classes, load_open_vocabulary, resized_input
from maskmill.progress import progress
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    vectors: str,
    maps: str,
    foreground: str,
    image_level: str,
    threshold: float | None,
    side: int,
    window: int,
    stride: int,
    scatteritem: str = "1-of-1",
) -> None:
    """Label the images of one part.

    Args:
        checkpoint: safetensors file of a trained `GroupViT` or `ZeroSeg`.
        maps: map store to write: labels uint8 [H, W] at the image's size.
        foreground: map store to write: the same, without the rule of the background.
        image_level: map store to write: the image's likeliest class at every pixel.
        threshold: affinity in 0..1 below which a pixel is background; null: the data set has no background.
        side: pixels; length of the image's short side as the network sees it.
        window: pixels; side of the sliding windows.
        stride: pixels; step from one sliding window to the next.
    """
    records, device = read_index(index), inference_device()
    model = load_open_vocabulary(checkpoint).to(device)
    classes, scale, _, class_ids = load_classes(vectors)
    classes = classes.to(device)
    of_window = partial(
        zero_shot_logits,
        describe=model.describe,
        patch_size=model.patch_size,
        classes=classes,
        scale=scale.to(device),
        thresholds=[] if threshold is None else [threshold],
    )
    numbers = class_ids if threshold is None else F.pad(class_ids, (1, 0))  # class of each plane of the logits
    parameters = {"threshold": threshold, "side": side, "window": window, "stride": stride}
    origin = {"producer": "predict_zero_shot", "parameters": parameters, "inputs": [checkpoint, vectors]}

    with (
        create_maps(maps, "label", **origin) as label_store,
        create_maps(foreground, "label", **origin) as foreground_store,
        create_maps(image_level, "label", **origin) as image_level_store,
    ):
        for image_id in progress(shard(read_ids(ids), scatteritem), f"zero-shot {scatteritem}"):
            image = read_image(records[image_id].image)
            size, pixels = image.shape[:2], resized_input(image, model, side).to(device)
            logits = image_logits(of_window, pixels, size, window, stride)
            foreground_store.write(image_id, labels(logits[-len(class_ids) :], class_ids))
            label_store.write(image_id, labels(logits, numbers))
            _, _, whole = model.describe(pixels)
            image_level_store.write(image_id, np.full(size, class_ids[(classes @ whole[0]).argmax().item()], np.uint8))


def labels(logits: torch.Tensor, numbers: torch.Tensor) -> np.ndarray:
    """uint8 [H, W]: the class number of the largest plane of logits [C, H, W]."""
    return numbers[logits.argmax(dim=0).cpu()].byte().numpy()


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
