"""Train P2AT, or its plain baseline, on true masks: one row of the method's table.

In: index, id list, optionally the backbone's weights, or a checkpoint of the same architecture for another data set to
start from. Out: a checkpoint of the network class `architecture`.
"""

import logging

import numpy as np
import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks
from maskmill.data.index import read_ids, read_index
from maskmill.methods.p2at import balanced_weights, losses
from maskmill.networks.p2at import P2AT, PlainDecoder
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_tensors
from maskmill.training.optimizers import backbone_and_new
from maskmill.training.run import TrainingRun, training_images
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage

logger = logging.getLogger(__name__)

ARCHITECTURES = {"P2AT": P2AT, "PlainDecoder": PlainDecoder}


def main(
    dataset: str,
    index: str,
    ids: str,
    architecture: str,
    network: dict,
    augmentation: dict,
    lr: float,
    new_factor: float,
    weight_decay: float,
    poly_epochs: float,
    balance: list[float],
    near_boundary: float,
    auxiliary_mean: str,
    ohem: dict,
    class_weights: str,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
    start: list[str] = (),
) -> None:
    """Train one row's network.

    Args:
        architecture: P2AT or PlainDecoder.
        poly_epochs: epochs after which the learning rate would be 0; the training may end earlier.
        balance: weights of the auxiliary logits' loss and of the final logits' loss.
        near_boundary: weight of the final logits' loss near boundaries, where the second auxiliary head finds them.
        auxiliary_mean: official or valid: whether the auxiliary logits' loss is a mean over all pixels or over those
            with a label.
        ohem: which pixels the loss keeps: `threshold`, a probability, and `min_kept`, a number per device with `images`
            images.
        class_weights: none or balanced: whether the loss weighs classes by the inverse of their share of the pixels.
        start: checkpoint of the same architecture for another data set; none: not used.
    """
    num_classes = DATASETS[dataset].num_classes
    indexed = read_index(index)
    records = [indexed[image_id] for image_id in read_ids(ids)]
    torch.manual_seed(run.seed)
    model = ARCHITECTURES[architecture](num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    for path in start:
        load_fitting(model, path)
    masks = Masks(records, num_classes, short_side)
    options = {"num_classes": num_classes, "labels": masks, "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)
    balanced = balanced_weights(class_pixels(masks)) if class_weights == "balanced" else None
    auxiliary = network.get("auxiliary", "none")
    terms = {"auxiliary": auxiliary, "balance": balance, "near_boundary": near_boundary}
    terms |= {"auxiliary_mean": auxiliary_mean, "ohem": ohem}

    def step(model, batch):
        of_classes = None if balanced is None else balanced.to(batch["label"].device)
        outputs = model(batch["image"])
        return losses(outputs, batch["label"], **terms, class_weights=of_classes)

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor)
    schedule = poly(iterations_of(poly_epochs, len(images), run.batch_size))
    run.train(model, step, groups, images, schedule=schedule)


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
