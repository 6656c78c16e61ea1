"""Train IRNet's boundary and displacement branches on affinity labels (spec 2.5).

In: index, id list, affinity labels, and the frozen backbone: published weights or the trained classifier. Out: a
checkpoint of `IRNet`.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import TrainingImages
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.methods.irn import losses
from maskmill.networks.classifier import Classifier
from maskmill.networks.irn import STRIDE, IRNet
from maskmill.refinement.paths import paths
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import open_maps
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    labels: str,
    checkpoint: str,
    network: dict,
    radius: int,
    augmentation: dict,
    optimizer: dict,
    lr_edge: float,
    lr_displacement: float,
    weight_decay: float,
    epochs: float,
    batch_size: int,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
    run: str = "by hand",
) -> None:
    records = read_index(index)
    torch.manual_seed(seed)
    model = IRNet(pretrained=next(iter(weights), None), **network)
    for path in classifier:
        model.backbone.load_state_dict(load_network(path, Classifier).backbone.state_dict())
    images = TrainingImages(
        [records[i] for i in read_ids(ids)],
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        num_classes=find_dataset(dataset, index).num_classes,
        labels=open_maps(labels),
        short_side=short_side,
    )
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
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
