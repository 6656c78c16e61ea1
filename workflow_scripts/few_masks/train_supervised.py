"""Train a segmentation network on the labelled images of a partition alone, for as many iterations as a method that
also sees the unlabelled ones: the baseline of CW-BASS and MGD, and CW-BASS's teacher.

In: index, both id lists (of the unlabelled one only its length matters), optionally the backbone's weights. Out: a
checkpoint of the network class `architecture`.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.networks.segmentation import NETWORKS, logits_of
from maskmill.training.loop import train
from maskmill.training.losses import supervised_loss
from maskmill.training.optimizers import backbone_and_new, build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    checkpoint: str,
    architecture: str,
    network: dict,
    augmentation: dict,
    optimizer: dict,
    lr: float,
    weight_decay: float,
    epochs: float,
    batch_size: int,
    training: dict,
    new_factor: float = 1.0,
    decay_norms: bool = True,
    ohem: int | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    records = [every[i] for i in read_ids(labelled)]
    torch.manual_seed(seed)
    model = NETWORKS[architecture](num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        labels=Masks(records, num_classes, short_side),
        short_side=short_side,
    )
    loss = supervised_loss(ohem)

    def step(model, batch):
        return {"supervised": loss(logits_of(model, batch["image"]), batch["label"])}

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, decay_norms=decay_norms)
    longer = max(len(records), len(read_ids(unlabelled)))
    iterations = iterations_of(epochs, longer, batch_size, max_iterations)
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
