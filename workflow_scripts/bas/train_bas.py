"""Train BAS on image tags, for seeds that cover whole objects (spec weakly_supervised 4.6).

In: index, id list, and what the backbone starts from: published weights, the trained classifier's, or nothing. Out: a
checkpoint of `BASSeeds`. Params: `schedule` and `biases`, each `official` or `intended`, are two
accidents of the released code, see below.
"""

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import TrainingImages, check_tags
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import Augmentation
from maskmill.methods.bas import draw_class, seed_losses
from maskmill.networks.bas import BASSeeds, parameter_groups
from maskmill.networks.classifier import Classifier
from maskmill.storage.checkpoints import load_network
from maskmill.training.loop import train
from maskmill.training.optimizers import build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage

# Devices of the released launch. Each counts its own part of a batch as if it were a whole one (spec 0, point 6): the
# schedule is four times as long as the training, which ends at 0.77 of the first learning rate.
OFFICIAL_DEVICES = 4


def main(
    dataset: str,
    index: str,
    ids: str,
    checkpoint: str,
    network: dict,
    augmentation: dict,
    alpha: float,
    beta: float,
    optimizer: dict,
    lr: float,
    new_factor: float,
    biases: str,
    schedule: str,
    weight_decay: float,
    epochs: float,
    batch_size: int,
    training: dict,
    generator_factor: float | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
    run: str = "by hand",
) -> None:
    num_classes = find_dataset(dataset, index).num_classes
    indexed = read_index(index)
    records = [indexed[i] for i in read_ids(ids)]
    check_tags(records, f"remove such ids from {ids}")  # BAS draws one of each image's classes
    torch.manual_seed(seed)
    model = BASSeeds(num_classes=num_classes - 1, pretrained=next(iter(weights), None), **network)
    for trained in classifier:
        model.load_stages(load_network(trained, Classifier).backbone.stages)
    images = TrainingImages(
        records,
        Augmentation(**augmentation),
        model.mean,
        model.std,
        num_classes=num_classes,
        short_side=short_side,
    )

    def step(model, batch):
        drawn = draw_class(batch["tags"])
        return seed_losses(*model(batch["image"], drawn), drawn, batch["tags"], alpha=alpha, beta=beta)

    # official: the released code gives its optimiser the parameters named "weight" alone.
    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        new_factor=new_factor,
        generator_factor=generator_factor,
        bias_factor={"official": 0, "intended": 1}[biases],
    )
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    scheduled = iterations
    if schedule == "official":
        scheduled = iterations_of(epochs, len(images), max(1, batch_size // OFFICIAL_DEVICES))
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(scheduled),
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
