"""Train one step of class-incremental learning, from the step before it (spec BARM 1.3-1.6).

In: index, the step's id list, the previous step's checkpoint. Out: a checkpoint of `BARM` with one group more. Params:
`steps`, class ids of each step up to this one; `variant`: barm (all five losses), finetune (step 0's loss on the new
labels), or frozen (the same, where nothing but the new group learns).
"""

import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.incremental import StepLabels, step_records
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.methods.barm import first_losses, losses, seen_images
from maskmill.networks.barm import freeze_known, load_previous, next_step, parameter_groups
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


def main(
    dataset: str,
    variant: str,
    index: str,
    ids: str,
    previous: str,
    checkpoint: str,
    steps: list[list[int]],
    copy_statistics: bool,
    parity_mode: str,
    threshold: float,
    augmentation: dict,
    optimizer: dict,
    weight_decay: float,
    later: dict,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    run: str = "by hand",
) -> None:
    num_classes = DATASETS[dataset].num_classes
    teacher = load_previous(previous, steps)
    torch.manual_seed(seed)
    model = next_step(teacher, steps[-1], copy_statistics=copy_statistics)
    if variant == "frozen":
        freeze_known(model)
    records = step_records(read_index(index), seen_images(read_ids(ids), parity_mode=parity_mode), steps[-1])
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        labels=StepLabels(Masks(records, num_classes, short_side), steps, len(steps) - 1),
        short_side=short_side,
    )

    def step(model, batch):
        student = model(batch["image"])
        if variant != "barm":
            return first_losses(student.logits, batch["label"])
        with torch.no_grad():
            known = teacher(batch["image"])
        return losses(student, known, batch["label"], threshold=threshold)

    rates = {key: later[key] for key in ("lr_new", "lr_aspp", "lr_old")}
    batch_size = later["batch_size"] // 2 if parity_mode == "official" else later["batch_size"]
    iterations = iterations_of(later["epochs"], len(images), batch_size, max_iterations)
    train(
        model,
        step,
        build_optimizer(parameter_groups(model, **rates, weight_decay=weight_decay), **optimizer),
        poly(iterations),
        images,
        state=teacher if variant == "barm" else None,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
