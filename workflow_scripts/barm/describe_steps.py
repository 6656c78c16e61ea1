"""Measure what each step of BARM costs and how right its pseudo labels are.

In: index, id lists and checkpoints of all steps.
Out: a table with one row per step. The truth of earlier classes is read for these measurements alone.
"""

import pandas as pd
import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks
from maskmill.data.images import read_image
from maskmill.data.incremental import channel_table
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import network_input
from maskmill.evaluation.cost import macs, parameters
from maskmill.evaluation.incremental import PseudoLabelQuality
from maskmill.methods.barm import pseudo_labels, upsample
from maskmill.networks.barm import BARM
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.atomic import atomic_path
from maskmill.storage.checkpoints import load_network
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    lists: list[str],
    checkpoints: list[str],
    steps_table: str,
    steps: list[list[int]],
    threshold: float,
    size: int,
    short_side: int | None = None,
) -> None:
    """Describe all steps.

    Args:
        lists: text files with the ids of the training images of each step, one per line.
        checkpoints: safetensors files of the `BARM` trained up to each step.
        steps_table: CSV to write, with columns step, classes, images, parameters_m (millions), gmacs_<size> (billions),
            pseudo_precision and pseudo_recall (percent of pixels, of the labels that the previous step's network
            gives).
        threshold: probability in 0..1 that a pseudo label needs.
        size: pixels; side of the square image that multiply-accumulates are counted for.
    """
    about, records, rows, teacher = DATASETS[dataset], read_index(index), [], None
    for number, (path, checkpoint) in enumerate(zip(lists, checkpoints, strict=True)):
        step_images = [records[image_id] for image_id in read_ids(path)]
        quality = PseudoLabelQuality()
        if teacher is not None:
            add_images(
                quality, teacher, step_images, Masks(step_images, about.num_classes, short_side), steps, threshold
            )
        teacher = load_network(checkpoint, BARM)
        row = {
            "step": number,
            "classes": " ".join(about.classes[class_id] for class_id in steps[number]),
            "images": len(step_images),
            "parameters_m": parameters(teacher) / 1e6,
            f"gmacs_{size}": macs(BARM(**teacher.arguments), size, size) / 1e9,
            "pseudo_precision": quality.precision,
            "pseudo_recall": quality.recall,
        }
        rows.append(row)
    with atomic_path(steps_table) as path:
        pd.DataFrame(rows).to_csv(path, index=False, float_format="%.3f")


@torch.inference_mode()
def add_images(
    quality: PseudoLabelQuality, teacher: BARM, records: list, masks: Masks, steps, threshold: float
) -> None:
    """Compare the pseudo labels that the network of one step gives to the images of the next step with the truth."""
    device, mean, std = inference_device(), teacher.backbone.mean, teacher.backbone.std
    teacher.to(device)
    number = len(teacher.arguments["steps"])
    step_channels, known_channels = channel_table(steps, number), channel_table(steps[: number + 1])
    for record in progress(records, f"pseudo labels {number}"):
        mask = masks[record.image_id]
        labels = torch.from_numpy(step_channels[mask]).long()[None].to(device)
        pixels = network_input(read_image(record.image, masks.short_side), mean, std).to(device)
        targets = pseudo_labels(upsample(teacher(pixels).logits, labels), labels, threshold)[0].cpu().numpy()
        quality.add(targets, step_channels[mask], known_channels[mask])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
