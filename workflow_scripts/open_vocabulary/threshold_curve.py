"""Measure the mIoU of zero-shot labels at every threshold of the background.

The images are training images that have masks: a threshold must not be chosen on the images that are scored.

In: index, id list, a network with segments, vectors of the classes.
Out: the mIoU at each threshold.
Source: the rule of the background is that of NVlabs/GroupViT.
"""

from functools import partial

import numpy as np
import pandas as pd
import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.images import read_image, read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.methods.zero_shot import zero_shot_logits
from maskmill.networks.device import inference_device
from maskmill.networks.open_vocabulary import image_logits, load_classes, load_open_vocabulary, resized_input
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    vectors: str,
    curve: str,
    thresholds: list[float],
    curve_images: int,
    side: int,
    window: int,
    stride: int,
) -> None:
    """Score the labels at every threshold.

    Args:
        ids: text file with the ids of training images that have masks, one per line.
        checkpoint: safetensors file of a trained `GroupViT` or `ZeroSeg`.
        curve: CSV to write, with columns threshold and miou (percent).
        thresholds: thresholds of the background: first, end (not included), step.
        curve_images: number of images to use, the first ones of the list.
        side: pixels; length of the image's short side as the network sees it.
        window: pixels; side of the sliding windows.
        stride: pixels; step from one sliding window to the next.
    """
    records, device, num_classes = read_index(index), inference_device(), DATASETS[dataset].num_classes
    model = load_open_vocabulary(checkpoint).to(device)
    classes, scale, _, class_ids = load_classes(vectors)
    values, total = np.arange(*thresholds), len(class_ids)
    counts = np.zeros((len(values), num_classes, num_classes), np.int64)
    of_window = partial(
        zero_shot_logits,
        describe=model.describe,
        patch_size=model.patch_size,
        classes=classes.to(device),
        scale=scale.to(device),
        thresholds=values.tolist(),
    )
    for image_id in progress(read_ids(ids)[:curve_images], "threshold curve"):
        image = read_image(records[image_id].image)
        pixels = resized_input(image, model, side).to(device)
        logits = image_logits(of_window, pixels, image.shape[:2], window, stride)
        truth = read_mask(records[image_id].mask, num_classes)
        likeliest, best = logits[-total:].max(dim=0)
        labels = class_ids[best.cpu()].numpy()
        for matrix, background in zip(counts, logits[:-total], strict=True):
            matrix += confusion(truth, np.where((background > likeliest).cpu().numpy(), 0, labels), num_classes)
    names = DATASETS[dataset].classes
    miou = [scores(matrix, names)[0]["value"] for matrix in counts]
    with atomic_path(curve) as path:
        table = pd.DataFrame({"threshold": values, "miou": miou})
        table.to_csv(path, index=False, float_format="%.3f")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
