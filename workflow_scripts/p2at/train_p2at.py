"""Train P2AT, or its plain baseline, on true masks: one row of the table (spec 3.4).

In: index, id list, optionally the backbone's weights, or a checkpoint of the same architecture for another data set to
start from. Out: a checkpoint of the network class `architecture`.
"""

import logging

import numpy as np
import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks, TrainingImages
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.methods.p2at import balanced_weights, losses
from maskmill.networks.p2at import P2AT, PlainDecoder
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_tensors
from maskmill.training.loop import train
from maskmill.training.optimizers import backbone_and_new, build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage

logger = logging.getLogger(__name__)

ARCHITECTURES = {"P2AT": P2AT, "PlainDecoder": PlainDecoder}


def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    architecture: str,
    network: dict,
    augmentation: dict,
    optimizer: dict,
    lr: float,
    new_factor: float,
    weight_decay: float,
    epochs: float,
    poly_epochs: float,
    batch_size: int,
    balance: list[float],
    ohem: dict,
    class_weights: str,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    start: list[str] = (),
    run: str = "by hand",
) -> None:
    num_classes = DATASETS[dataset].num_classes
    every = read_index(index)
    records = [every[i] for i in read_ids(ids)]
    torch.manual_seed(seed)
    model = ARCHITECTURES[architecture](num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    for path in start:
        load_fitting(model, path)
    masks = Masks(records, num_classes, short_side)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        labels=masks,
        short_side=short_side,
    )
    balanced = balanced_weights(class_pixels(masks)) if class_weights == "balanced" else None
    auxiliary = network.get("auxiliary", "none")

    def step(model, batch):
        of_classes = None if balanced is None else balanced.to(batch["label"].device)
        outputs = model(batch["image"])
        return losses(
            outputs, batch["label"], auxiliary=auxiliary, balance=balance, ohem=ohem, class_weights=of_classes
        )

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations_of(poly_epochs, len(images), batch_size)),
        images,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations_of(epochs, len(images), batch_size, max_iterations),
        batch_size=batch_size,
        seed=seed,
        **training,
    )


def class_pixels(masks: Masks) -> torch.Tensor:
    """Pixels of each class in all masks, float64 [num_classes]."""
    counts = np.zeros(256, np.int64)
    for image_id in progress(masks, "class pixels"):
        counts += np.bincount(masks[image_id].ravel(), minlength=256)
    return torch.from_numpy(counts[: masks.num_classes]).double()


def load_fitting(model: torch.nn.Module, path: str) -> None:
    """Start from another data set's checkpoint: all tensors but the classifiers', which have other classes."""
    own, tensors = model.state_dict(), load_tensors(path)[0]
    fitting = {name: t for name, t in tensors.items() if name in own and own[name].shape == t.shape}
    model.load_state_dict(own | fitting)
    logger.info("start from %s: %d of %d tensors", path, len(fitting), len(own))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
