"""Train one of MGD's light students with its teachers' labels, logits and features (spec 2.4).

In: index, both id lists, both teachers, for mode `cached` the four stores of what they said of each batch, named as
`cache_batches` names them, optionally the backbone's weights. Out: a checkpoint of `DeepLabV3PlusMGD`.
"""

from pathlib import Path

import torch
from torch import nn

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_index
from maskmill.data.semi_supervised import crops_of, mgd_images
from maskmill.methods import mgd
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.storage.caches import batch_name, open_batches
from maskmill.storage.checkpoints import load_network
from maskmill.training.loop import train
from maskmill.training.losses import supervised_loss
from maskmill.training.optimizers import backbone_and_new, build_optimizer
from maskmill.training.schedules import iterations_of, poly
from maskmill.workflow import stage


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
    epochs: float,
    batch_size: int,
    training: dict,
    new_factor: float = 1.0,
    cached_epochs: float | None = None,
    stores: list[str] = (),
    ohem: int | None = None,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    every, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    torch.manual_seed(seed)
    model = DeepLabV3PlusMGD(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    mean, std = model.backbone.mean, model.backbone.std
    crops = {"augmentation": augmentation, "cutmix": cutmix, "pairing": pairing, "short_side": short_side}
    images = mgd_images(every, labelled, unlabelled, num_classes, mean, std, **crops)
    iterations = iterations_of(epochs, len(images), batch_size, max_iterations)
    teachers, stored, repeat = None, None, None
    if stores:
        repeat = iterations_of(cached_epochs, len(images), batch_size, iterations)
        asked = {"teacher_batchnorm": teacher_batchnorm, "padding_counts": padding_counts}
        made = crops | asked | {"min_confidence": min_confidence, "seed": seed, "batch_size": batch_size}
        teacher_of = {"wide_labels": wide, "relation": wide, "deep_labels": deep, "pooled": deep}
        opened = {}
        for path in stores:
            name = Path(path).stem
            opened[name] = open_batches(path, [teacher_of[name], labelled, unlabelled], made, repeat)

        def stored(iteration):
            return {name: store[batch_name(iteration)] for name, store in opened.items()}
    else:
        loaded = [load_network(path, DeepLabV3PlusMGD) for path in (wide, deep)]
        teachers = nn.ModuleList(mgd.freeze_teacher(teacher, batchnorm=teacher_batchnorm) for teacher in loaded)
    supervised = supervised_loss(ohem)

    def step(model, batch):
        seen = crops_of(batch, padding_counts)
        if teachers is None:
            said = _read(batch)
        else:
            said = [mgd.ask(teacher, *seen, min_confidence=min_confidence) for teacher in teachers]
        x_l, x_u, mask, padding = seen
        return mgd.student_losses(
            model,
            x_l,
            batch["label"],
            x_u,
            mask,
            *said,
            valid=None if padding is None else mgd.shown(padding, mask),
            lambda_1=lambda_1,
            lambda_2=lambda_2,
            images_per_device=images_per_device,
            extra_passes=extra_passes,
            supervised=supervised,
        )

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, decay_norms=False)
    train(
        model,
        step,
        build_optimizer(groups, **optimizer),
        poly(iterations),
        images,
        repeat=repeat,
        beside=stored,
        state=teachers,
        checkpoint=checkpoint,
        run=run,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
        **training,
    )


def _read(batch):
    """What the stores say of a batch: the wide teacher and the deep one."""
    wide, deep = (batch[f"{teacher}_labels"].long().unbind(dim=1) for teacher in ("wide", "deep"))
    return mgd.Said(*wide, pooled=None, relation=batch["relation"]), mgd.Said(*deep, batch["pooled"], relation=None)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
