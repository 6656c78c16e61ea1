"""Train BAS on image tags, for seeds that cover whole objects.

In: index, id list, and what the backbone starts from: published weights, the trained classifier's, or nothing. Out: a
checkpoint of `BASSeeds`.
"""

import logging
from dataclasses import replace

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import check_tags
from maskmill.data.index import read_ids, read_index
from maskmill.errors import InputError
from maskmill.methods.bas import draw_class, seed_losses
from maskmill.networks.bas import BASSeeds, parameter_groups
from maskmill.networks.classifier import Classifier
from maskmill.storage.checkpoints import load_network
from maskmill.training.run import TrainingRun, training_images
from maskmill.training.schedules import poly
from maskmill.workflow import stage

# Devices of the released launch. Each of them plans the schedule for its own part of a batch: the schedule is four
# times as long as the training, which ends at 0.77 of the first learning rate.
OFFICIAL_DEVICES = 4


def main(
    dataset: str,
    index: str,
    ids: str,
    network: dict,
    augmentation: dict,
    alpha: float,
    beta: float,
    lr: float,
    new_factor: float,
    biases: str,
    schedule: str,
    weight_decay: float,
    run: TrainingRun,
    generator_factor: float | None = None,
    short_side: int | None = None,
    weights: list[str] = (),
    classifier: list[str] = (),
) -> None:
    """Train BAS's network for seeds; `biases` and `schedule` each undo an accident of the released code.

    Args:
        alpha, beta: weights of the losses L_frg and L_ac.
        new_factor: the classifier's learning rate, in units of the backbone's.
        generator_factor: the generator's learning rate, in units of the backbone's; null: as `new_factor`.
        biases: official (biases do not learn, because the released code gives its optimiser the parameters named
            "weight" alone) or intended (biases learn).
        schedule: official (poly over the iterations that four devices would count) or intended (over all of them).
    """
    about = find_dataset(dataset, index)
    num_classes = about.num_classes
    indexed = read_index(index)
    all_records = [indexed[image_id] for image_id in read_ids(ids)]
    check_tags(all_records, about.classes, f"remove such ids from {ids}")
    records = [record for record in all_records if record.classes]  # BAS draws one of each image's classes
    if not records:
        raise InputError(f"{ids}: no image shows a class, so BAS has nothing to learn from; add tags")
    if len(records) < len(all_records):
        logging.info("BAS learns from %d of %d images; the others show no class", len(records), len(all_records))
    torch.manual_seed(run.seed)
    model = BASSeeds(num_classes=num_classes - 1, pretrained=next(iter(weights), None), **network)
    for trained in classifier:
        model.load_stages(load_network(trained, Classifier).backbone.stages)
    images = training_images(records, augmentation, model, num_classes=num_classes, short_side=short_side)

    def step(model, batch):
        drawn = draw_class(batch["tags"])
        return seed_losses(*model(batch["image"], drawn), drawn, batch["tags"], alpha=alpha, beta=beta)

    groups = parameter_groups(
        model,
        lr=lr,
        weight_decay=weight_decay,
        new_factor=new_factor,
        generator_factor=generator_factor,
        bias_factor={"official": 0, "intended": 1}[biases],
    )
    scheduled = run
    if schedule == "official":
        scheduled = replace(run, batch_size=max(1, run.batch_size // OFFICIAL_DEVICES), max_iterations=None)
    run.train(model, step, groups, images, schedule=poly(scheduled.length(images)))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
