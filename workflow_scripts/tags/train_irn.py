"""Train IRNet's boundary and displacement branches on affinity labels.

In: index, id list, affinity labels, and the frozen backbone: published weights or the trained classifier. Out: a
checkpoint of `IRNet`.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_ids, read_index
from maskmill.methods.irn import losses
from maskmill.networks.classifier import Classifier
from maskmill.networks.irn import STRIDE, IRNet
from maskmill.refinement.paths import paths
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import open_maps
from maskmill.training.run import TrainingRun, training_images
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    labels: str,
    network: dict,
    radius: int,
    augmentation: dict,
    lr_edge: float,
    lr_displacement: float,
    weight_decay: float,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
) -> None:
    """Train both branches.

    Args:
        labels: map store of affinity labels.
        radius: distance between the pixels of a pair that the losses look at, in cells of the stride-4 grid.
        lr_edge, lr_displacement: learning rates of the two branches at the first iteration.
    """
    indexed = read_index(index)
    torch.manual_seed(run.seed)
    model = IRNet(pretrained=next(iter(weights), None), **network)
    for path in classifier:
        model.backbone.load_state_dict(load_network(path, Classifier).backbone.state_dict())
    records = [indexed[image_id] for image_id in read_ids(ids)]
    num_classes = find_dataset(dataset, index).num_classes
    options = {"num_classes": num_classes, "labels": open_maps(labels), "short_side": short_side}
    images = training_images(records, augmentation, model.backbone, **options)
    pairs = paths(radius)

    def step(model, batch):
        edge, displacement = model(batch["image"])
        label = batch["label"][:, ::STRIDE, ::STRIDE]
        parts = losses(edge, displacement, label, pairs)
        return {name: part / 2 for name, part in parts.items() if name != "total"}

    groups = [
        {"params": model.edge_parameters(), "lr": lr_edge, "weight_decay": weight_decay},
        {"params": model.displacement_parameters(), "lr": lr_displacement, "weight_decay": weight_decay},
    ]
    run.train(model, step, groups, images)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
