"""Train one of MGD's light students with its teachers' labels, logits and features (spec 2.4).

In: index, both id lists, both teachers, for mode `cached` the stores of what they said (labels, confidence, and the
deep one's logits or the wide one's features), optionally the backbone's weights. Out: a checkpoint of
`DeepLabV3PlusMGD`.
"""

import torch
from torch import nn

import stage
from maskmill.data.catalog import find_dataset
from maskmill.data.datasets import Masks
from maskmill.data.index import read_ids, read_index
from maskmill.data.partitions import unlabelled_records
from maskmill.data.semi_supervised import ConfidentLabels, MGDImages
from maskmill.data.transforms import Augmentation
from maskmill.methods import mgd
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.storage.caches import open_cache
from maskmill.storage.checkpoints import load_network
from maskmill.training.loop import train
from maskmill.training.losses import supervised_loss
from maskmill.training.optimizers import backbone_and_new, build_optimizer
from maskmill.training.schedules import iterations_of, poly


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    wide: str,
    deep: str,
    checkpoint: str,
    network: dict,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    optimizer: dict,
    lr: float,
    lambda_1: float,
    lambda_2: float,
    weight_decay: float,
    teacher_batchnorm: str,
    extra_passes: bool,
    images_per_device: int,
    padding_counts: bool,
    min_confidence: float,
    cache: dict,
    epochs: float,
    batch_size: int,
    training: dict,
    new_factor: float = 1.0,
    wide_stores: list[str] = (),
    deep_stores: list[str] = (),
    ohem: int | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    labelled_ids, unlabelled_ids = read_ids(labelled), read_ids(unlabelled)
    records = [every[i] for i in labelled_ids]
    torch.manual_seed(seed)
    model = DeepLabV3PlusMGD(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    caches = None
    if wide_stores:
        ids = [*labelled_ids, *unlabelled_ids]
        of_wide = [open_cache(path, wide, ids, short_side) for path in wide_stores]
        of_deep = [open_cache(path, deep, ids, short_side) for path in deep_stores]
        caches = {
            "wide": _maps(*of_wide, "features", min_confidence),
            "deep": _maps(*of_deep, "logits", min_confidence),
        }
    images = MGDImages(
        records,
        unlabelled_records(every, unlabelled_ids),
        Augmentation(**augmentation),
        model.backbone.mean,
        model.backbone.std,
        masks=Masks(records, num_classes, short_side),
        cutmix=cutmix,
        pairing=pairing,
        caches=caches,
        **cache,
        short_side=short_side,
    )
    teachers = None
    if caches is None:
        loaded = [load_network(path, DeepLabV3PlusMGD) for path in (wide, deep)]
        teachers = nn.ModuleList(mgd.freeze_teacher(teacher, batchnorm=teacher_batchnorm) for teacher in loaded)
    supervised = supervised_loss(ohem)

    def online(batch, unlabelled):
        padding = None if padding_counts else (batch["padding"], batch["padding_0"], batch["padding_1"])
        wide, deep = teachers
        return mgd.online_targets(
            wide, deep, batch["image"], unlabelled, batch["mask"], padding, min_confidence=min_confidence
        )

    def step(model, batch):
        unlabelled = batch["image_0"], batch["image_1"]
        return mgd.student_losses(
            model,
            batch["image"],
            batch["label"],
            unlabelled,
            batch["mask"],
            _cached(batch) if teachers is None else online(batch, unlabelled),
            lambda_1=lambda_1,
            lambda_2=lambda_2,
            images_per_device=images_per_device,
            extra_passes=extra_passes,
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
        state=teachers,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


def _maps(labels, confidence, others, kind: str, min_confidence: float) -> dict:
    return {"label": ConfidentLabels(labels, confidence, min_confidence) if min_confidence else labels, kind: others}


def _cached(batch):
    return mgd.cached_targets(
        [batch[f"{teacher}_label"] for teacher in ("wide", "deep")],
        [(batch[f"{teacher}_label_0"], batch[f"{teacher}_label_1"]) for teacher in ("wide", "deep")],
        (batch["deep_logits_0"], batch["deep_logits_1"]),
        (batch["wide_features_0"], batch["wide_features_1"]),
        batch["mask"],
        (batch["padding_0"], batch["padding_1"]),
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
