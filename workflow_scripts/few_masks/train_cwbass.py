"""Train CW-BASS's student on labelled and unlabelled images: one row of the ablation table.

In: index, both id lists, optionally the backbone's weights and, for the variant `paper`, the teacher with the labels
and the confidence that it gave the unlabelled images. Out: a checkpoint of `DeepLabV3Plus`.
"""

from functools import partial

import numpy as np
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
from maskmill.training.optimizers import backbone_and_new
from maskmill.training.run import TrainingRun
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    variant: str,
    network: dict,
    augmentation: dict,
    strong: dict | None,
    lr: float,
    new_factor: float,
    weight_decay: float,
    threshold: dict,
    adaptive_threshold: dict,
    lambda_u: float,
    ramp_epochs: float,
    ema: dict,
    loss: dict,
    run: TrainingRun,
    teacher: list[str] = (),
    labels: list[str] = (),
    confidence: list[str] = (),
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train the student.

    Args:
        labelled, unlabelled: text files with the ids of the images that have masks, and of those that have none.
        variant: paper, online or v2: who labels the unlabelled images, and when.
        strong: keyword arguments of `StrongAugmentation`, of the unlabelled images; null: none. `online` has none, and
            v2 no holes.
        threshold: keyword arguments of `dynamic_threshold`, for paper and online.
        adaptive_threshold: keyword arguments of `AdaptiveThreshold`, for v2.
        lambda_u: weight of the loss on unlabelled images.
        ramp_epochs: epochs over which that weight rises from 0, for paper and online; v2 has it from the start.
        ema: keyword arguments of `EMA` that differ from the variant's own, for online and v2.
        loss: keyword arguments of `LossSettings`.
        teacher: for paper: checkpoint of the network that labelled the unlabelled images.
        labels, confidence: for paper: map stores of `cache_labels`.
    """
    indexed, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    release, settings = cwbass.VARIANTS[variant], cwbass.LossSettings(**loss)
    records, unlabelled_ids = [indexed[image_id] for image_id in read_ids(labelled)], read_ids(unlabelled)
    torch.manual_seed(run.seed)
    model = DeepLabV3Plus(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    stores = [open_cache(path, *teacher, unlabelled_ids, short_side) for path in (*labels, *confidence)]
    if release.cutmix and strong is not None:
        strong = strong | {"cutout_p": 0}
    images = CWBASSImages(
        records,
        unlabelled_records(indexed, unlabelled_ids),
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        masks=Masks(records, num_classes, short_side),
        labels=stores[0] if stores else None,
        confidence=stores[1] if stores else None,
        strong=StrongAugmentation(**strong) if release.strong and strong is not None else None,
        short_side=short_side,
    )
    average = EMA(model, **release.ema | ema) if release.ema else None
    adaptive = cwbass.AdaptiveThreshold(num_classes, **adaptive_threshold) if release.adaptive else None
    epoch = max(1, len(images) // run.batch_size)
    threshold_of = adaptive or partial(cwbass.dynamic_threshold, **threshold)
    if not settings.thresholded:
        threshold_of = cwbass.no_threshold
    ramp_iterations = round(ramp_epochs * epoch) if release.ramped else 0

    def step(model, batch):
        if average is None:
            pseudo, confidence = batch["pseudo"], batch["confidence"]
        else:
            confidence, pseudo = cwbass.pseudo_labels(average.module(batch["weak"]))
            pseudo = pseudo.masked_fill(batch["ignore"], cwbass.IGNORE)
        rng = np.random.default_rng([run.seed, 2, batch["iteration"]]) if release.cutmix else None
        tau, (unlabelled, pseudo, confidence) = cwbass.threshold_then_mix(
            threshold_of, batch["unlabelled"], pseudo, confidence, rng
        )
        on_labelled, on_unlabelled = cwbass.student_logits(model, batch["image"], unlabelled, joined=release.joined)
        return cwbass.losses(
            on_labelled,
            batch["label"],
            on_unlabelled,
            cwbass.PseudoLabels(pseudo, confidence, tau),
            settings=settings,
            release=release,
            epoch=batch["iteration"] // epoch,
            strength=lambda_u * cwbass.ramp(batch["iteration"], ramp_iterations),
        )

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor)
    result = average.module if average is not None and release.teacher_scored else model
    run.train(model, step, groups, images, ema=average, state=adaptive, result=result)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
