"""Train BARM's network on the classes of several steps at once.

These are the classes of step 0, where class-incremental learning begins, or those of all steps up to t: the baseline
`joint`, which trains for as many iterations as these steps have together.

In: index, the id lists of these steps, optionally the backbone's weights. Out: a checkpoint of `BARM` with one group of
classes.
"""

from dataclasses import replace
from itertools import chain

import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks
from maskmill.data.incremental import StepLabels, step_records
from maskmill.data.index import read_ids, read_index
from maskmill.methods.barm import first_losses
from maskmill.networks.barm import BARM
from maskmill.training.optimizers import backbone_and_new
from maskmill.training.run import TrainingRun, training_images
from maskmill.training.schedules import iterations_of
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    lists: list[str],
    steps: list[list[int]],
    network: dict,
    augmentation: dict,
    lr: float,
    new_factor: float,
    weight_decay: float,
    lengths: list[dict],
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train one network on all classes of `steps`.

    Args:
        lists: text file per step with the ids of its images.
        steps: class ids per step.
        lengths: epochs and batch size per step; the training is as long as all of them together, whatever --epochs and
            --iterations are.
    """
    num_classes = DATASETS[dataset].num_classes
    ids = [read_ids(path) for path in lists]
    classes = list(chain(*steps))
    records = step_records(read_index(index), list(dict.fromkeys(chain(*ids))), classes)
    torch.manual_seed(run.seed)
    model = BARM(steps=[classes], pretrained=next(iter(weights), None), **network)
    labels = StepLabels(Masks(records, num_classes, short_side), [classes], 0)
    options = {"num_classes": num_classes, "labels": labels, "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)

    def step(model, batch):
        return first_losses(model(batch["image"]).logits, batch["label"])

    iterations = sum(
        iterations_of(length["epochs"], len(of_step), length["batch_size"], run.max_iterations)
        for length, of_step in zip(lengths, ids, strict=True)
    )
    groups = backbone_and_new(model, lr=lr, new_factor=new_factor, weight_decay=weight_decay)
    replace(run, iterations=iterations, max_iterations=None).train(model, step, groups, images)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
