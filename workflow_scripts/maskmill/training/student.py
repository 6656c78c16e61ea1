"""A segmentation student on stored labels, with its moving average as teacher: shared by methods and baselines."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from maskmill.data.images import IGNORE
from maskmill.data.index import Record
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import Maps
from maskmill.training.ema import EMA
from maskmill.training.loop import Step
from maskmill.training.run import TrainingRun, training_images


def train_student(
    make_step: Callable[[nn.Module], Step],
    records: list[Record],
    labels: Maps,
    run: TrainingRun,
    *,
    num_classes: int,
    pretrained: str | None,
    classifier: str | None,
    network: dict,
    augmentation: dict,
    lr_backbone: float,
    lr_new: float,
    weight_decay: float,
    ema: dict,
    save: str,
    short_side: int | None,
) -> None:
    """Train a DeepLabV3+ and save it to `run.checkpoint`.

    Args:
        make_step: given the teacher (the student's moving average, frozen), returns the training step.
        labels: one label map per image, at working size.
        pretrained, classifier: what the backbone starts from: published weights, or the trained `Classifier`; neither:
            random weights.
        network, augmentation, ema: keyword arguments of DeepLabV3Plus, Augmentation and EMA.
        lr_backbone, lr_new: initial learning rates of the backbone and of all other layers.
        save: `ema` or `student`: whose weights are the result.
    """
    torch.manual_seed(run.seed)
    model = DeepLabV3Plus(num_classes=num_classes, pretrained=pretrained, **network)
    if classifier is not None:
        model.backbone.load_state_dict(load_network(classifier, Classifier).backbone.state_dict())
    teacher = EMA(model, **ema)
    options = {"num_classes": num_classes, "labels": labels, "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)
    groups = [
        {"params": model.backbone.parameters(), "lr": lr_backbone, "weight_decay": weight_decay},
        {"params": model.new_parameters(), "lr": lr_new, "weight_decay": weight_decay},
    ]
    result = teacher.module if save == "ema" else model
    run.train(model, make_step(teacher.module), groups, images, ema=teacher, result=result)


def cross_entropy_step(teacher: nn.Module) -> Step:
    """The plain student: cross entropy on the stored labels, without pixels labelled 255."""
    return lambda model, batch: {
        "cross_entropy": F.cross_entropy(model(batch["image"]), batch["label"], ignore_index=IGNORE)
    }
