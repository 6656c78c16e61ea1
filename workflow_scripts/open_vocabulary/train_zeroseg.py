"""Train ZeroSeg, or one of its ablations, on images and their teacher's views.

In: shards with their indices, the views of each, the teacher's weights. Out: a checkpoint of `ZeroSeg`.
"""

import logging

import torch

from maskmill.data.shards import Shards
from maskmill.data.views import ViewedImages
from maskmill.errors import InputError
from maskmill.methods.zeroseg import (
    coverage_loss,
    distillation_loss,
    gradient_norms,
    matching_loss,
    reconstruction_loss,
    view_distances,
    view_weights,
)
from maskmill.networks.backbones import freeze_backbone
from maskmill.networks.clip import start_stem, teacher_dim
from maskmill.networks.zeroseg import ZeroSeg
from maskmill.storage.features import Features
from maskmill.storage.maps import sha256
from maskmill.training.optimizers import decayed_weights
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import iterations_of, warmup_then_cosine
from maskmill.workflow import stage


def main(
    shards: list[str],
    features: list[str],
    weights: str,
    teacher: str,
    network: dict,
    multi_scale: bool,
    match: bool,
    loss: dict,
    lr: float,
    betas: list[float],
    weight_decay: float,
    warmup_epochs: float,
    run: TrainingRun,
    stem: list[str] = (),
    stem_frozen: bool = False,
) -> None:
    """Train one row's network.

    Args:
        shards: tar files of images.
        features: stores of the teacher's views, one per shard.
        weights: file of the teacher's weights.
        teacher: tiny, or the name of one of open_clip's models.
        multi_scale: whether z learns from all views; false: from the whole image alone.
        match: whether segments learn, by L_match.
        loss: weights `reconstruction`, `distillation`, `matching` and `coverage`; `reduction` over the teacher's
            dimensions (sum or mean); `views` (equal or grids: which of them weigh the same in z's loss).
        lr: learning rate after the warm-up.
        betas: AdamW's two momenta.
        weight_decay: weight decay of the weights of layers; norms and biases do not decay.
        warmup_epochs: epochs of the warm-up.
        stem: checkpoint of the small image-text model, whose backbone the stem starts from; none: random weights.
        stem_frozen: whether the stem keeps the weights that it starts from.
    """
    images, stores = Shards(shards), [Features(path) for path in features]
    dim, digest = teacher_dim(teacher, weights), sha256(weights)
    for store, samples in zip(stores, images.samples, strict=True):
        store.check([sample[0] for sample in samples], weights, digest, dim)
    logging.info("%d images of %d shards", len(images), len(shards))
    torch.manual_seed(run.seed)
    model = ZeroSeg(dim=dim, **network)
    if stem:
        start_stem(model.stem, *stem)
    if stem_frozen:
        freeze_stem(model)
    # Without L_match this layer gets no gradient, and several devices would wait for one.
    model.segmentation.of_segments.requires_grad_(match)
    # The paper's sums over the teacher's dimensions, or their means, which the losses give.
    factor = dim if loss["reduction"] == "sum" else 1
    shares = view_weights(stores[0].parameters["grids"] if multi_scale else [1], loss["views"])

    def step(model, batch):
        pixels, views = batch["image"], batch["views"]
        output = model(pixels, torch.rand(len(pixels), model.patches, device=pixels.device))
        losses = {
            "reconstruction": reconstruction_loss(output["pixels"], pixels, output["removed"]),
            "distillation": factor * distillation_loss(output["image"], views[:, : len(shares)], shares),
        }
        if match:
            distances = factor * view_distances(output["segments"], views)
            losses["matching"] = matching_loss(distances)[0]
            if loss["coverage"]:
                losses["coverage"] = coverage_loss(distances)
        losses = {name: loss[name] * value for name, value in losses.items()}
        if batch["iteration"] == 0:
            norms = gradient_norms(losses, model.blocks.parameters())
            logging.info("lengths of the losses' gradients in the encoder: %s", norms)
        return losses

    iterations = run.length(images)
    warmup = iterations_of(warmup_epochs, len(images), run.batch_size, iterations)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = decayed_weights(learned, weight_decay=weight_decay, lr=lr, betas=tuple(betas))
    viewed = ViewedImages(images, stores, network["image_size"], model.mean, model.std)
    run.train(model, step, groups, viewed, schedule=warmup_then_cosine(iterations, warmup), optimizer="adamw")


def freeze_stem(model: ZeroSeg) -> None:
    """Keep the stem's weights and statistics.

    Raises:
        InputError: there is none.
    """
    if model.stem is None:
        raise InputError("config: zeroseg.stem_frozen is true, but there is no zeroseg.network.stem; name one")
    freeze_backbone(model.stem)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
