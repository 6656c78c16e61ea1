"""Train one of MGD's teachers: cross pseudo supervision of two branches with CutMix.

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
from maskmill.training.losses import supervised_loss
from maskmill.training.optimizers import backbone_and_new
from maskmill.training.run import TrainingRun
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    network: dict,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    lr: float,
    weight_decay: float,
    cps_weight: float,
    warm_up_epochs: float,
    statistics: str,
    run: TrainingRun,
    new_factor: float = 1.0,
    ohem: int | None = None,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train one teacher.

    Args:
        labelled, unlabelled: text files with the ids of the images that have masks, and of those that have none.
        cutmix: keyword arguments of `cutmix_masks`.
        pairing: same or independent: whether CutMix mixes two crops of one image, or two images.
        weight_decay: weight decay of the weights of convolutions; norms and biases do not decay.
        cps_weight: weight of the loss on unlabelled images.
        warm_up_epochs: epochs at the start on labelled images alone.
        statistics: all, or labelled: unlabelled images do not move the running statistics of batch norms.
        ohem: pixels per labelled image that the loss keeps, the hardest ones; null: all pixels.
    """
    indexed, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    torch.manual_seed(run.seed)
    model = TwoBranches(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    mean, std = model.branches[0].backbone.mean, model.branches[0].backbone.std
    crops = {"augmentation": augmentation, "cutmix": cutmix, "pairing": pairing, "short_side": short_side}
    images = mgd_images(indexed, labelled, unlabelled, num_classes, mean, std, **crops)
    supervised = supervised_loss(ohem)
    warm_up = round(warm_up_epochs * len(images) / run.batch_size)

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

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, decay_norms=False)
    run.train(model, step, groups, images, result=model.branches[0])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
