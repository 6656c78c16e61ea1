"""Train CW-BASS's student on labelled and unlabelled images (spec 3.2-3.4): one row of the ablation table.

In: index, both id lists, optionally the backbone's weights and, for the variant `paper`, the teacher with the labels
and the confidence that it gave the unlabelled images. Out: a checkpoint of `DeepLabV3Plus`.
"""

from functools import partial

import torch

from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import Masks
from maskmill.data.index import read_ids, read_index
from maskmill.data.partitions import unlabelled_records
from maskmill.data.semi_supervised import CWBASSImages
from maskmill.data.transforms import Augmentation, StrongAugmentation
from maskmill.methods import cwbass
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.storage.caches import open_cache
from maskmill.training.ema import EMA
from maskmill.training.loop import train
from maskmill.training.optimizers import backbone_and_new, build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    checkpoint: str,
    variant: str,
    network: dict,
    augmentation: dict,
    strong: dict | None,
    optimizer: dict,
    lr: float,
    new_factor: float,
    weight_decay: float,
    epochs: float,
    batch_size: int,
    threshold: dict,
    adaptive_threshold: dict,
    lambda_u: float,
    ramp_epochs: float,
    ema: dict,
    loss: dict,
    training: dict,
    teacher: list[str] = (),
    labels: list[str] = (),
    confidence: list[str] = (),
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    release, records = cwbass.VARIANTS[variant], [every[i] for i in read_ids(labelled)]
    unlabelled_ids = read_ids(unlabelled)
    torch.manual_seed(seed)
    model = DeepLabV3Plus(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    stores = [open_cache(path, *teacher, unlabelled_ids, short_side) for path in (*labels, *confidence)]
    images = CWBASSImages(
        records,
        unlabelled_records(every, unlabelled_ids),
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        masks=Masks(records, num_classes, short_side),
        labels=stores[0] if stores else None,
        confidence=stores[1] if stores else None,
        strong=None if strong is None or variant == "online" else StrongAugmentation(**strong),
        cutmix=release["cutmix"],
        short_side=short_side,
    )
    follower = EMA(model, **release["ema"] | ema) if release["ema"] else None
    adaptive = (
        cwbass.AdaptiveThreshold(num_classes, **adaptive_threshold) if release["threshold"] == "adaptive" else None
    )
    epoch = max(1, len(images) // batch_size)
    weighing = {key: loss[key] for key in ("weighted", "gamma", "boundary_weight", "boundary_pad")}
    tau_of = adaptive or partial(cwbass.dynamic_threshold, **threshold)
    if not loss["thresholded"]:
        tau_of = cwbass.no_threshold

    def step(model, batch):
        if follower is None:
            pseudo, confidence = batch["pseudo"], batch["confidence"]
        else:
            confidence, pseudo = cwbass.pseudo_labels(follower.module(batch["weak"]))
            pseudo = pseudo.masked_fill(batch["ignore"], cwbass.IGNORE)
        tau, (unlabelled, pseudo, confidence) = cwbass.threshold_then_mix(
            tau_of, batch["unlabelled"], pseudo, confidence, batch.get("hole")
        )
        of_labelled, of_unlabelled = cwbass.student_logits(model, batch["image"], unlabelled, joined=release["joined"])
        return cwbass.losses(
            of_labelled,
            batch["label"],
            of_unlabelled,
            pseudo,
            confidence,
            tau,
            strength=lambda_u * cwbass.ramp(batch["iteration"], round(ramp_epochs * epoch)),
            factor=cwbass.decay_factor(batch["iteration"] // epoch, decay=loss["decay"], d=loss["d"]),
            class_balanced=release["class_balanced"],
            averaged=release["averaged"],
            **weighing,
        )

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor)
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        ema=follower,
        state=adaptive,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
