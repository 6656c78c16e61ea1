"""Train BAS on images of one class each, to find that class's box; or its classifier alone, to compare with.

In: index, id list, class names (one per line), optionally the backbone's weights. Out: a checkpoint of `BASLocalizer`.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.errors import InputError
from maskmill.methods.bas import SATURATED, localization_losses, logits
from maskmill.networks.bas import BASLocalizer, parameter_groups
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import iterations_of, step_decay
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    classes: str,
    network: dict,
    variant: str,
    augmentation: dict,
    alpha: float,
    beta: float,
    lr: float,
    new_factor: float,
    bias_factor: float,
    weight_decay: float,
    decay_epochs: float,
    run: TrainingRun,
    saturated: float | None = None,
    weights: list[str] = (),
) -> None:
    """Train BAS's network for boxes.

    Args:
        classes: text file with the class names, one per line.
        variant: bas, or cam: the same network and budget with the classification loss alone, whose score maps are the
            class activation maps to compare with.
        augmentation: keyword arguments of `Augmentation`: `square`, `crop` and `interpolation`.
        alpha, beta: weights of the losses L_frg and L_ac.
        new_factor: learning rate of the classifier head and the generator, in units of the backbone's.
        bias_factor: learning rate of biases, in units of their layer's.
        decay_epochs: epochs between two steps of the learning rate by 0.1.
        saturated: value of L_bas where the background is more active than the image; null: as in the paper's extension.
    """
    num_classes = len(Path(classes).read_text(encoding="utf-8").splitlines())
    indexed = read_index(index)
    torch.manual_seed(run.seed)
    model = BASLocalizer(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    records = [indexed[image_id] for image_id in read_ids(ids)]
    images = OneClassImages(records, Augmentation(**augmentation), model.mean, model.std)
    if variant == "cam":
        model.generator.requires_grad_(False)  # no gradient reaches it, and several devices would wait for one
    if saturated is None:
        saturated = SATURATED.get(network["backbone"], 1.0)

    def step(model, batch):
        image, label = batch["image"], batch["label"]
        if variant == "cam":
            return {"cls": F.cross_entropy(logits(model(image)), label)}
        return localization_losses(*model(image, label), label, alpha=alpha, beta=beta, saturated=saturated)

    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, bias_factor=bias_factor)
    schedule = step_decay(iterations_of(decay_epochs, len(images), run.batch_size, drop_last=run.drop_last))
    run.train(model, step, groups, images, schedule=schedule)


class OneClassImages:
    """Random crops of images with exactly one tag, in the form the training loop asks for."""

    def __init__(self, records: list[Record], augmentation: Augmentation, mean, std):
        self.records, self.augmentation, self.mean, self.std = records, augmentation, mean, std
        for record in records:
            if len(record.classes) != 1:
                tags = len(record.classes)
                raise InputError(
                    f"{record.image}: the image has {tags} tags, not one; correct its class or leave it out"
                )

    def __len__(self) -> int:
        return len(self.records)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor | int]:
        """One example: `image` float32 [3, crop, crop], `label` in 0..C-1."""
        record = self.records[index]
        image = read_image(record.image)
        geometry, jitter = self.augmentation.draw(image.shape[:2], rng)
        return {"image": geometry.image(image, self.mean, self.std, jitter), "label": record.classes[0] - 1}


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
