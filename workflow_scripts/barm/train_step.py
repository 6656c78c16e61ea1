"""Train one step of class-incremental learning, starting from the network of the step before it.

In: index, the step's id list, the previous step's checkpoint. Out: a checkpoint of `BARM` with one more group of
classes.
"""

from dataclasses import replace

import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks
from maskmill.data.incremental import StepLabels, step_records
from maskmill.data.index import read_ids, read_index
from maskmill.methods.barm import first_losses, losses, sampled_images
from maskmill.networks.barm import freeze_known, load_previous, next_step, parameter_groups
from maskmill.training.run import TrainingRun, training_images
from maskmill.workflow import stage


def main(
    dataset: str,
    variant: str,
    index: str,
    ids: str,
    previous: str,
    steps: list[list[int]],
    copy_statistics: bool,
    parity_mode: str,
    threshold: float,
    augmentation: dict,
    lr_new: float,
    lr_aspp: float,
    lr_old: float,
    weight_decay: float,
    run: TrainingRun,
    short_side: int | None = None,
) -> None:
    """Train the last of `steps`.

    Args:
        variant: barm (all five losses), finetune (step 0's loss on the new labels), or frozen (as finetune, but only
            the new group learns).
        previous: checkpoint of the step before.
        steps: class ids per step, up to this one.
        copy_statistics: whether the new ear normalises by the first ear's statistics.
        parity_mode: official (a fixed half of the images, at half the batch size) or intended (all images).
        threshold: probability from which a pseudo label counts.
        lr_new, lr_aspp, lr_old: learning rates at the first iteration: of the new ear and head, of ASPP, of the rest.
    """
    num_classes = DATASETS[dataset].num_classes
    teacher = load_previous(previous, steps)
    torch.manual_seed(run.seed)
    model = next_step(teacher, steps[-1], copy_statistics=copy_statistics)
    if variant == "frozen":
        freeze_known(model)
    records = step_records(read_index(index), sampled_images(read_ids(ids), parity_mode=parity_mode), steps[-1])
    labels = StepLabels(Masks(records, num_classes, short_side), steps, len(steps) - 1)
    options = {"num_classes": num_classes, "labels": labels, "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)

    def step(model, batch):
        student = model(batch["image"])
        if variant != "barm":
            return first_losses(student.logits, batch["label"])
        with torch.no_grad():
            known = teacher(batch["image"])
        return losses(student, known, batch["label"], threshold=threshold)

    groups = parameter_groups(model, lr_new=lr_new, lr_aspp=lr_aspp, lr_old=lr_old, weight_decay=weight_decay)
    if parity_mode == "official":
        run = replace(run, batch_size=run.batch_size // 2)
    run.train(model, step, groups, images, state=teacher if variant == "barm" else None)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
