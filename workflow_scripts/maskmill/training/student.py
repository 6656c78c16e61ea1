"""A segmentation student on stored labels, with its moving average as teacher: shared by methods and baselines."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from maskmill.data.datasets import TrainingImages
from maskmill.data.images import IGNORE
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import Maps
from maskmill.training.ema import EMA
from maskmill.training.loop import Step, train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, poly


def train_student(
    make_step: Callable[[nn.Module], Step],
    records: list[Record],
    labels: Maps,
    checkpoint: str | Path,
    *,
    num_classes: int,
    network: dict,
    pretrained: str | None,
    classifier: str | None,
    augmentation: dict,
    lr_backbone: float,
    lr_new: float,
    weight_decay: float,
    optimizer: dict,
    ema: dict,
    save: str,
    epochs: float,
    batch_size: int,
    training: dict,
    max_iterations: int | None,
    seed: int,
    short_side: int | None,
    run: str,
) -> None:
    """Train a DeepLabV3+ and save it.

    Args:
        make_step: given the teacher (the student's moving average, frozen), returns the training step.
        labels: one label map an image, at working size.
        network, augmentation, ema, training: keyword arguments of DeepLabV3Plus, Augmentation, EMA and train;
            `optimizer` of build_optimizer.
        pretrained, classifier: what the backbone starts from: published weights, or the trained `Classifier`; neither:
            random weights.
        lr_backbone, lr_new: initial learning rates of the backbone and of all other layers.
        save: `ema` or `student`: whose weights are the result.
    """
    torch.manual_seed(seed)
    model = DeepLabV3Plus(num_classes=num_classes, pretrained=pretrained, **network)
    if classifier is not None:
        model.backbone.load_state_dict(load_network(classifier, Classifier).backbone.state_dict())
    teacher = EMA(model, **ema)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=num_classes,
        labels=labels,
        short_side=short_side,
    )
    groups = [
        {"params": model.backbone.parameters(), "lr": lr_backbone, "weight_decay": weight_decay},
        {"params": model.new_parameters(), "lr": lr_new, "weight_decay": weight_decay},
    ]
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    train(
        model,
        make_step(teacher.module),
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        ema=teacher,
        result=teacher.module if save == "ema" else model,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


def cross_entropy_step(teacher: nn.Module) -> Step:
    """The plain student: cross entropy on the stored labels, 255 left out."""
    return lambda model, batch: {
        "cross_entropy": F.cross_entropy(model(batch["image"]), batch["label"], ignore_index=IGNORE)
    }
