"""Train BARM's network on the classes of some steps at once: of step 0, where class-incremental learning begins, or of
all steps (the baseline `joint`), for as many iterations as they have together.

In: index, id lists of these steps, optionally the backbone's weights. Out: a checkpoint of `BARM` with one group of
classes. Params: `steps`, class ids of each of them; `first`, the recipe of step 0 (spec BARM 1.5); `lengths`, epochs
and batch size of each step.
"""

from itertools import chain

import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.incremental import StepLabels, step_records
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.methods.barm import first_losses
from maskmill.networks.barm import BARM
from maskmill.training.loop import train
from maskmill.training.optimizers import backbone_and_new, build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    lists: list[str],
    checkpoint: str,
    steps: list[list[int]],
    network: dict,
    augmentation: dict,
    optimizer: dict,
    weight_decay: float,
    first: dict,
    lengths: list[dict],
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    num_classes = DATASETS[dataset].num_classes
    ids = [read_ids(path) for path in lists]
    classes = list(chain(*steps))
    records = step_records(read_index(index), list(dict.fromkeys(chain(*ids))), classes)
    torch.manual_seed(seed)
    model = BARM(steps=[classes], pretrained=next(iter(weights), None), **network)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        labels=StepLabels(Masks(records, num_classes, short_side), [classes], 0),
        short_side=short_side,
    )

    def step(model, batch):
        return first_losses(model(batch["image"]).logits, batch["label"])

    iterations = sum(
        iterations_of(length["epochs"], len(of_step), length["batch_size"], max_iterations)
        for length, of_step in zip(lengths, ids, strict=True)
    )
    groups = backbone_and_new(model, lr=first["lr"], new_factor=first["new_factor"], weight_decay=weight_decay)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=first["batch_size"],
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
