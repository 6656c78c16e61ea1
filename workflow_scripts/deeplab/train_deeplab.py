"""Train DeepLab v2 on true masks, with one variant of its head.

In: index, id list, optionally the backbone's weights. Out: a checkpoint of `DeepLabV2`.
"""

import torch

from maskmill.data.catalog import DATASETS
from maskmill.data.datasets import Masks
from maskmill.data.index import read_ids, read_index
from maskmill.methods.deeplab import deep_supervision, parameter_groups
from maskmill.networks.deeplab_v2 import DeepLabV2
from maskmill.training.run import TrainingRun, training_images
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    network: dict,
    head: dict,
    augmentation: dict,
    lr: float,
    multipliers: dict,
    weight_decay: float,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train one variant of DeepLab v2.

    Args:
        head: the variant's atrous rates, and the scales that it sees besides 1: keyword arguments of `DeepLabV2`.
        multipliers: learning rates of the score layers (`scores`) and of biases (`bias`), in units of the backbone's.
    """
    num_classes = DATASETS[dataset].num_classes
    indexed = read_index(index)
    records = [indexed[image_id] for image_id in read_ids(ids)]
    torch.manual_seed(run.seed)
    model = DeepLabV2(num_classes=num_classes, pretrained=next(iter(weights), None), **network, **head)
    masks = Masks(records, num_classes, short_side)
    options = {"num_classes": num_classes, "labels": masks, "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)

    def step(model, batch):
        return {"cross_entropy": deep_supervision(model(batch["image"]), batch["label"])}

    groups = parameter_groups(model, model.score_layers(), lr=lr, weight_decay=weight_decay, multipliers=multipliers)
    run.train(model, step, groups, images)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
