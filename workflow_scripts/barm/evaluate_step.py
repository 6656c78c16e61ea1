"""Score a network that has learned the steps up to one, on the validation images.

In: index, id list, checkpoint.
Out: scores and confusion matrix.
Source: the evaluation of ANDYZAQ/BARM, whose scripts set `--crop_val`.
"""

import numpy as np
import pandas as pd
import torch
from PIL import Image

from maskmill.data.catalog import DATASETS
from maskmill.data.images import read_image, read_mask
from maskmill.data.incremental import channel_classes
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import network_input
from maskmill.errors import InputError
from maskmill.evaluation.incremental import known_truth, step_scores
from maskmill.evaluation.segmentation import confusion
from maskmill.methods.barm import probabilities
from maskmill.networks.barm import BARM
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.storage.checkpoints import load_network
from maskmill.workflow import stage

CROP = 513


@torch.inference_mode()
def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    scores_table: str,
    confusion_table: str,
    steps: list[list[int]],
    eval_policy: str = "full",
    counted: str = "occurring",
    short_side: int | None = None,
) -> None:
    """Score the network on the classes that it has learned.

    Args:
        checkpoint: safetensors file of a trained `BARM`.
        scores_table: CSV to write, with columns metric, class_name and value (percent).
        confusion_table: CSV to write: pixel counts, rows truth, columns prediction.
        eval_policy: full (whole images) or crop513 (centre crops of images whose short side is resized to 513 pixels).
    """
    names, num_classes = DATASETS[dataset].classes, DATASETS[dataset].num_classes
    records, device = read_index(index), inference_device()
    model = load_network(checkpoint, BARM).to(device)
    channel_ids = channel_classes(model.arguments["steps"])
    if channel_ids != channel_classes(steps):
        raise InputError(f"{checkpoint}: learned the steps {model.arguments['steps']}, not {steps}; delete it")
    class_of = np.array(channel_ids, np.uint8)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for image_id in progress(read_ids(ids), "evaluate"):
        image = read_image(records[image_id].image, None if eval_policy == "crop513" else short_side)
        truth = read_mask(records[image_id].mask, num_classes)
        if eval_policy == "crop513":
            image = centre_crop(image, Image.Resampling.BILINEAR)
            truth = centre_crop(truth, Image.Resampling.NEAREST)
        pixels = network_input(image, model.backbone.mean, model.backbone.std)
        best = probabilities(model(pixels.to(device)).logits, truth.shape)[0].argmax(dim=0)
        matrix += confusion(known_truth(truth, steps), class_of[best.cpu().numpy()], num_classes)
    with atomic_path(confusion_table) as path:
        pd.DataFrame(matrix, index=pd.Index(names, name="truth"), columns=names).to_csv(path)
    with atomic_path(scores_table) as path:
        pd.DataFrame(step_scores(matrix, names, steps, counted=counted)).to_csv(path, index=False)


def centre_crop(array: np.ndarray, resample: Image.Resampling) -> np.ndarray:
    """The middle square of an image or labels, uint8 [H, W, ...], whose shorter side is resized to 513 pixels.

    The longer side is truncated, and the square's start rounded to even, as torchvision's `Resize` and `CenterCrop` do.
    """
    height, width = (int(CROP * side / min(array.shape[:2])) for side in array.shape[:2])
    top, left = round((height - CROP) / 2), round((width - CROP) / 2)
    resized = Image.fromarray(array).resize((width, height), resample)
    return np.array(resized)[top : top + CROP, left : left + CROP]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
