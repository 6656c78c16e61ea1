"""Train a segmentation network on the labelled images of a partition alone.

This is the baseline of CW-BASS and MGD, and CW-BASS's teacher. The training has as many iterations as a method that
sees the unlabelled images as well.

In: index, both id lists (of the unlabelled images only their number matters), optionally the backbone's weights. Out: a
checkpoint of the network class `architecture`.
"""

from dataclasses import replace

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import Masks
from maskmill.data.index import read_ids, read_index
from maskmill.networks.segmentation import NETWORKS, logits_of
from maskmill.training.losses import supervised_loss
from maskmill.training.optimizers import backbone_and_new
from maskmill.training.run import TrainingRun, training_images
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    architecture: str,
    network: dict,
    augmentation: dict,
    lr: float,
    weight_decay: float,
    run: TrainingRun,
    new_factor: float = 1.0,
    decay_norms: bool = True,
    ohem: int | None = None,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train on masks alone.

    Args:
        labelled, unlabelled: text files with the ids of the images that have masks, and of those that have none.
        architecture: name of the network's class.
        decay_norms: whether norms and biases decay too; false: only the weights of convolutions decay.
        ohem: pixels per image that the loss keeps, the hardest ones; null: all pixels.
    """
    indexed, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    records = [indexed[image_id] for image_id in read_ids(labelled)]
    torch.manual_seed(run.seed)
    model = NETWORKS[architecture](num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    masks = Masks(records, num_classes, short_side)
    options = {"num_classes": num_classes, "labels": masks, "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)
    loss = supervised_loss(ohem)

    def step(model, batch):
        return {"supervised": loss(logits_of(model, batch["image"]), batch["label"])}

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, decay_norms=decay_norms)
    longer = max(records, read_ids(unlabelled), key=len)
    replace(run, iterations=run.length(longer)).train(model, step, groups, images)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
