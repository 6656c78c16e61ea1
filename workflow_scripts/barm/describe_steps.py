"""What each step of BARM has, costs and is told: images, parameters, multiply-accumulates, quality of pseudo labels.

In: index, id lists and checkpoints of all steps. Out: CSV, one row a step, with columns step, classes, images,
parameters_m, gmacs_<side> (of a square image of that side), pseudo_precision and pseudo_recall (percent of pixels; of
the labels that the step before gives to this step's images; the truth of the earlier classes is read for them alone).
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
    about, records, rows, teacher = DATASETS[dataset], read_index(index), [], None
    for number, (path, checkpoint) in enumerate(zip(lists, checkpoints, strict=True)):
        of_step = [records[image_id] for image_id in read_ids(path)]
        quality = PseudoLabelQuality()
        if teacher is not None:
            add_images(quality, teacher, of_step, Masks(of_step, about.num_classes, short_side), steps, threshold)
        teacher = load_network(checkpoint, BARM)
        row = {
            "step": number,
            "classes": " ".join(about.classes[class_id] for class_id in steps[number]),
            "images": len(of_step),
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
    """Count the labels that the network of one step gives to the images of the next."""
    device, mean, std = inference_device(), teacher.backbone.mean, teacher.backbone.std
    teacher.to(device)
    number = len(teacher.arguments["steps"])
    own, all_known = channel_table(steps, number), channel_table(steps[: number + 1])
    for record in progress(records, f"pseudo labels {number}"):
        mask = masks[record.image_id]
        labels = torch.from_numpy(own[mask]).long()[None].to(device)
        pixels = network_input(read_image(record.image, masks.short_side), mean, std).to(device)
        targets = pseudo_labels(upsample(teacher(pixels).logits, labels), labels, threshold)[0].cpu().numpy()
        quality.add(targets, own[mask], all_known[mask])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
