"""Train the multi-label classifier on image tags (IRN; spec 2.1).

In: index, id list, optionally the backbone's weights. Out: a checkpoint of `Classifier`.
"""

import torch
from torch.nn import functional as F

from maskmill.data.catalog import OWN, find_dataset
from maskmill.data.datasets import TrainingImages, check_tags
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.networks.classifier import Classifier
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    network: dict,
    augmentation: dict,
    optimizer: dict,
    lr_backbone: float,
    lr_head: float,
    weight_decay: float,
    epochs: float,
    batch_size: int,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    num_classes = find_dataset(dataset, index).num_classes
    every = read_index(index)
    records = [every[i] for i in read_ids(ids)]
    if dataset == OWN:  # all others have tags or masks of every image
        check_tags(records, "complete the table data.mine.tags, or remove the image")
    torch.manual_seed(seed)
    model = Classifier(num_classes=num_classes - 1, pretrained=next(iter(weights), None), **network)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        short_side=short_side,
    )

    def step(model, batch):
        return {"tags": F.multilabel_soft_margin_loss(model(batch["image"]), batch["tags"].float())}

    groups = [
        {"params": model.backbone.parameters(), "lr": lr_backbone, "weight_decay": weight_decay},
        {"params": model.classifier.parameters(), "lr": lr_head, "weight_decay": weight_decay},
    ]
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
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
