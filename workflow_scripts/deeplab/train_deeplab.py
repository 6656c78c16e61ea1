"""Train DeepLab v2 on true masks: one variant of its head (spec 2.1-2.3).

In: index, id list, optionally the backbone's weights. Out: a checkpoint of `DeepLabV2`.
"""

import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.methods.deeplab import deep_supervision, parameter_groups
from maskmill.networks.deeplab_v2 import DeepLabV2
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import poly
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    network: dict,
    head: dict,
    augmentation: dict,
    optimizer: dict,
    lr: float,
    multipliers: dict,
    weight_decay: float,
    iterations: int,
    batch_size: int,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    num_classes = DATASETS[dataset].num_classes
    every = read_index(index)
    records = [every[i] for i in read_ids(ids)]
    torch.manual_seed(seed)
    model = DeepLabV2(num_classes=num_classes, pretrained=next(iter(weights), None), **network, **head)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        labels=Masks(records, num_classes, short_side),
        short_side=short_side,
    )

    def step(model, batch):
        return {"cross_entropy": deep_supervision(model(batch["image"]), batch["label"])}

    groups = parameter_groups(model, model.score_layers(), lr=lr, weight_decay=weight_decay, multipliers=multipliers)
    iterations = min(iterations, max_iterations or iterations)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
