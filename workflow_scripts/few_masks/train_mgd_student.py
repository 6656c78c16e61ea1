"""Train one of MGD's light students with its teachers' labels, logits and features.

In: index, both id lists, both teachers, for mode `cached` the four stores that `cache_batches` wrote, optionally the
backbone's weights. Out: a checkpoint of `DeepLabV3PlusMGD`.
"""

import torch
from torch import nn

from maskmill.data.catalog import find_dataset
from maskmill.data.index import read_index
from maskmill.data.semi_supervised import crops_of, mgd_images
from maskmill.methods import mgd
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.storage.caches import batch_parameters, read_batches
from maskmill.storage.checkpoints import load_network
from maskmill.training.losses import supervised_loss
from maskmill.training.optimizers import backbone_and_new
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import iterations_of
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    labelled: str,
    unlabelled: str,
    wide: str,
    deep: str,
    network: dict,
    augmentation: dict,
    cutmix: dict,
    pairing: str,
    lr: float,
    lambda_1: float,
    lambda_2: float,
    weight_decay: float,
    teacher_batchnorm: str,
    extra_passes: bool,
    images_per_device: int,
    padding_counts: bool,
    min_confidence: float,
    run: TrainingRun,
    new_factor: float = 1.0,
    cached_epochs: float | None = None,
    stores: list[str] = (),
    ohem: int | None = None,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train one student.

    Args:
        labelled, unlabelled: text files with the ids of the images that have masks, and of those that have none.
        wide, deep: checkpoints of the teachers.
        cutmix: keyword arguments of `cutmix_masks`.
        pairing: same or independent: whether CutMix mixes two crops of one image, or two images.
        lambda_1, lambda_2: weights of the losses L_I and L_R.
        weight_decay: weight decay of the weights of convolutions; norms and biases do not decay.
        teacher_batchnorm: train or eval: whether teachers normalise by each batch or by learned statistics.
        extra_passes: whether x_0 and x_1 pass through the student too, which moves its batch norms' statistics.
        images_per_device: images that L_I sums over.
        padding_counts: whether padded pixels count in the losses.
        min_confidence: probability below which a teacher's label does not count.
        cached_epochs: epochs whose batches are stored; the training repeats them.
        stores: map stores of `cache_batches`; none: the teachers run beside the student.
        ohem: pixels per labelled image that the loss keeps, the hardest ones; null: all pixels.
    """
    indexed, num_classes = read_index(index), find_dataset(dataset, index).num_classes
    torch.manual_seed(run.seed)
    model = DeepLabV3PlusMGD(num_classes=num_classes, pretrained=next(iter(weights), None), **network)
    mean, std = model.backbone.mean, model.backbone.std
    crops = {"augmentation": augmentation, "cutmix": cutmix, "pairing": pairing, "short_side": short_side}
    images = mgd_images(indexed, labelled, unlabelled, num_classes, mean, std, **crops)
    teachers, stored, period = None, None, None
    if stores:
        period = iterations_of(cached_epochs, len(images), run.batch_size, run.length(images))
        parameters = batch_parameters(
            **crops,
            teacher_batchnorm=teacher_batchnorm,
            padding_counts=padding_counts,
            min_confidence=min_confidence,
            seed=run.seed,
            batch_size=run.batch_size,
        )
        stored = read_batches(stores, {"wide": wide, "deep": deep}, (labelled, unlabelled), parameters, period)
    else:
        networks = [load_network(path, DeepLabV3PlusMGD) for path in (wide, deep)]
        teachers = nn.ModuleList(mgd.freeze_teacher(teacher, batchnorm=teacher_batchnorm) for teacher in networks)
    supervised = supervised_loss(ohem)

    def step(model, batch):
        x_l, x_u, mask, padding = views = crops_of(batch, padding_counts)
        if teachers is None:
            outputs = mgd.outputs_from_stores(batch)
        else:
            outputs = [mgd.teacher_outputs(teacher, *views, min_confidence=min_confidence) for teacher in teachers]
        return mgd.student_losses(
            model,
            x_l,
            batch["label"],
            x_u,
            mask,
            *outputs,
            valid=None if padding is None else mgd.valid_pixels(padding, mask),
            lambda_1=lambda_1,
            lambda_2=lambda_2,
            images_per_device=images_per_device,
            extra_passes=extra_passes,
            supervised=supervised,
        )

    groups = backbone_and_new(model, lr=lr, weight_decay=weight_decay, new_factor=new_factor, decay_norms=False)
    run.train(model, step, groups, images, period=period, stored=stored, state=teachers)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
