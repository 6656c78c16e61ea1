"""A segmentation student on stored labels, with its moving average as teacher: shared by methods and baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from maskmill.data.index import Record
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import Maps
from maskmill.training.ema import EMA
from maskmill.training.loop import Step
from maskmill.training.losses import cross_entropy
from maskmill.training.run import TrainingRun, training_images


@dataclass(frozen=True, kw_only=True)
class Student:
    """Network, augmentation and rates of a student: a parameter `student: Student` of a training's `main`.

    Attributes:
        network: keyword arguments of `DeepLabV3Plus`.
        augmentation: keyword arguments of `Augmentation`.
        lr_backbone, lr_new: learning rates of the backbone and of all other layers at the first iteration.
        weight_decay: weight decay of all parameters.
        ema: keyword arguments of `EMA`, the student's moving average, which is the teacher of methods that have one.
        save: ema or student: whose weights are the result.
    """

    network: dict
    augmentation: dict
    lr_backbone: float
    lr_new: float
    weight_decay: float
    ema: dict
    save: str


def train_student(
    make_step: Callable[[nn.Module], Step],
    records: list[Record],
    labels: Maps,
    num_classes: int,
    student: Student,
    run: TrainingRun,
    *,
    weights: Sequence[str],
    classifier: Sequence[str],
    short_side: int | None,
) -> None:
    """Train a DeepLabV3+ and save it to `run.checkpoint`.

    Args:
        make_step: given the teacher (the student's moving average, frozen), returns the training step.
        labels: one label map per image, at working size.
        weights, classifier: what the backbone starts from, as no or one file: published weights, or the trained
            `Classifier`; neither: random weights.
    """
    torch.manual_seed(run.seed)
    model = DeepLabV3Plus(num_classes=num_classes, pretrained=next(iter(weights), None), **student.network)
    for path in classifier:
        model.backbone.load_state_dict(load_network(path, Classifier).backbone.state_dict())
    teacher = EMA(model, **student.ema)
    options = {"num_classes": num_classes, "labels": labels, "short_side": short_side}
    images = training_images(records, student.augmentation, model.backbone, **options)
    decay = student.weight_decay
    groups = [
        {"params": model.backbone.parameters(), "lr": student.lr_backbone, "weight_decay": decay},
        {"params": model.new_parameters(), "lr": student.lr_new, "weight_decay": decay},
    ]
    result = teacher.module if student.save == "ema" else model
    run.train(model, make_step(teacher.module), groups, images, ema=teacher, result=result)


def cross_entropy_step(teacher: nn.Module) -> Step:
    """The plain student: cross entropy on the stored labels, without pixels labelled 255."""
    return lambda model, batch: {"cross_entropy": cross_entropy(model(batch["image"]), batch["label"])}
