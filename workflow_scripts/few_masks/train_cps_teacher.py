"""Train one of MGD's teachers: cross pseudo supervision of two branches with CutMix (spec 2.3).

In: index, both id lists, optionally the backbone's weights. Out: a checkpoint of `DeepLabV3PlusMGD`, branch 1.
"""

from contextlib import nullcontext
from functools import partial

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_index
from maskmill.data.semi_supervised import mgd_images
from maskmill.methods.mgd import cps_losses
from maskmill.networks.deeplab_mgd import TwoBranches
from maskmill.networks.norms import still_statistics
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
    network: dict,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    optimizer: dict,
    lr: float,
    weight_decay: float,
    cps_weight: float,
    warm_up_epochs: float,
    statistics: str,
    epochs: float,
    batch_size: int,
    training: dict,
    new_factor: float = 1.0,
    ohem: int | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    torch.manual_seed(seed)
    model = TwoBranches(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    backbone = model.branches[0].backbone
    images = mgd_images(
        every,
        labelled,
        unlabelled,
        num_classes,
        backbone.mean,
        backbone.std,
        augmentation=augmentation,
        cutmix=cutmix,
        pairing=pairing,
        short_side=short_side,
    )
    supervised = supervised_loss(ohem)
    warm_up = round(warm_up_epochs * len(images) / batch_size)

    def step(model, batch):
        unlabelled = (batch["image_0"], batch["image_1"]) if batch["iteration"] >= warm_up else None
        return cps_losses(
            (partial(model, branch=0), partial(model, branch=1)),
            batch["image"],
            batch["label"],
            unlabelled,
            batch["mask"],
            weight=cps_weight,
            unlabelled_pass=partial(still_statistics, model) if statistics == "labelled" else nullcontext,
            supervised=supervised,
        )

    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, decay_norms=False)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        result=model.branches[0],
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
