"""Train BAS, or its classifier alone, on images of one class each (spec weakly_supervised 4.2, 4.3).

In: index, id list, class names (one a line), optionally the backbone's weights. Out: a checkpoint of `BASLocalizer`.
Params: `variant`: `bas`, or `cam`: the same network and budget with the classification loss alone, whose score maps are
the class activation maps to compare with; `augmentation`: Augmentation's `square` and `crop`; `saturated`: what L_bas
becomes where the background is more active than the image, null for the extension's choice.
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
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, step_decay
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    classes: str,
    checkpoint: str,
    network: dict,
    variant: str,
    augmentation: dict,
    alpha: float,
    beta: float,
    optimizer: dict,
    lr: float,
    new_factor: float,
    bias_factor: float,
    weight_decay: float,
    decay_epochs: float,
    epochs: float,
    batch_size: int,
    training: dict,
    saturated: float | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    num_classes = len(Path(classes).read_text(encoding="utf-8").splitlines())
    records = read_index(index)
    torch.manual_seed(seed)
    model = BASLocalizer(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    images = OneClassImages([records[i] for i in read_ids(ids)], Augmentation(**augmentation), model.mean, model.std)
    if variant == "cam":
        model.generator.requires_grad_(False)  # nothing reaches it, which several devices would wait for
    if saturated is None:
        saturated = SATURATED.get(network["backbone"], 1.0)

    def step(model, batch):
        image, label = batch["image"], batch["label"]
        if variant == "cam":
            return {"cls": F.cross_entropy(logits(model(image)), label)}
        return localization_losses(*model(image, label), label, alpha=alpha, beta=beta, saturated=saturated)

    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, bias_factor=bias_factor)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        step_decay(iterations_of(decay_epochs, len(images), batch_size)),
        images,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations_of(epochs, len(images), batch_size, max_iterations),
        batch_size=batch_size,
        seed=seed,
        **training,
    )


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
