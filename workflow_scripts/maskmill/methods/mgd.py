"""MGD: distil a deep and a wide teacher, both semi-supervised, into a light student.

J. Qin, J. Wu, M. Li, X. Xiao, M. Zheng, X. Wang: "Multi-Granularity Distillation Scheme Towards Lightweight
Semi-Supervised Semantic Segmentation", ECCV 2022. Losses and their scaling are those of the released code, in which
the teachers do not learn from the student: every term that they could learn from is a constant.

Symbols (the field's, then ours):
    x_l, y        images, labels      labelled batch, [B, 3, H, W] and int64 [B, H, W] with 255
    x_0, x_1      unlabelled          two batches of unlabelled images
    m             mask                CutMix mask, bool [B, 1, H, W]
    x_m           mix(x_0, x_1, m)    (1 - m) x_0 + m x_1
    z, f          logits, features    [B, K, H, W] and the decoder's last map [B, C, h, w]
    S, T_D, T_W   student, deep, wide
    L_P, L_I, L_R                     pixel, image and region level losses

Where the released code does something by accident or for its number of GPUs, a keyword argument offers that and the
intended way; the value named first is the released one.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.choices import check_choice
from maskmill.data.images import IGNORE
from maskmill.training.losses import cross_entropy, total

Network = Callable[[Tensor], tuple[Tensor, Tensor]]  # images to logits and features
Loss = Callable[[Tensor, Tensor], Tensor]  # logits and labels to a scalar


def mix(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """x_m: `second` where the mask is true, `first` elsewhere; [B, C, H, W], or labels [B, H, W]."""
    return torch.where(mask if first.ndim == 4 else mask[:, 0], second, first)


# Stage A: teachers


def cps_losses(
    branches: tuple[Network, Network],
    images: Tensor,
    labels: Tensor,
    unlabelled: tuple[Tensor, Tensor] | None,
    mask: Tensor,
    *,
    weight: float = 1.0,
    supervised: Loss = cross_entropy,
    unlabelled_pass: Callable[[], AbstractContextManager] = nullcontext,
) -> dict[str, Tensor]:
    """Cross pseudo supervision with CutMix: each of two branches learns the other's labels of the mixed image.

    Args:
        branches: two networks of one architecture that started differently; both learn.
        unlabelled: x_0 and x_1, or None for the labelled images alone: networks with random weights cannot label
            images yet.
        weight: w_cps, 1 on VOC and 5 on Cityscapes.
        supervised: loss on the labelled images; the loss on mixed images is the cross entropy.
        unlabelled_pass: context manager that the passes of unlabelled and mixed images run in.
    """
    if unlabelled is None:
        return {"supervised": total(supervised(branch(images)[0], labels) for branch in branches)}
    x_0, x_1 = unlabelled
    mixed = mix(x_0, x_1, mask)
    with unlabelled_pass():
        with torch.no_grad():
            pseudo = [mix(branch(x_0)[0], branch(x_1)[0], mask).argmax(dim=1) for branch in branches]
        on_mixed = [branch(mixed)[0] for branch in branches]
    on_labelled = [branch(images)[0] for branch in branches]
    crossed = cross_entropy(on_mixed[0], pseudo[1]) + cross_entropy(on_mixed[1], pseudo[0])
    return {"supervised": total(supervised(logits, labels) for logits in on_labelled), "cps": weight * crossed}


# Stage B: teacher outputs


def freeze_teacher(teacher: nn.Module, *, batchnorm: str = "train") -> nn.Module:
    """A teacher that does not learn.

    Args:
        batchnorm: `train` normalises by each batch (and moves the running statistics), `eval` by learned statistics.
    """
    check_choice("batchnorm", batchnorm, ("train", "eval"))
    teacher.requires_grad_(False).eval()
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(batchnorm == "train")
    return teacher


def pseudo_labels(logits: Tensor, min_confidence: float = 0.0) -> Tensor:
    """The likeliest classes, int64 [B, H, W]; 255 where their probability is below `min_confidence` (0: released)."""
    labels = logits.argmax(dim=1)
    if not min_confidence:
        return labels
    return labels.masked_fill(logits.softmax(dim=1).amax(dim=1) < min_confidence, IGNORE)


class TeacherOutputs(NamedTuple):
    """All that a student's loss needs of one teacher for a batch.

    Attributes:
        labelled, mixed: the teacher's labels of x_l and x_m, int64 [B, H, W]; pixels labelled 255 do not count.
        pooled: GAP z(x_m), [B, K]; L_I compares with the deep teacher's.
        relation: M of f(x_m), [B, side^2, side^2]; L_R compares with the wide teacher's.
    """

    labelled: Tensor
    mixed: Tensor
    pooled: Tensor | None
    relation: Tensor | None


@torch.no_grad()
def teacher_outputs(
    teacher: Network,
    images: Tensor,
    unlabelled: tuple[Tensor, Tensor],
    mask: Tensor,
    padding: tuple[Tensor, Tensor, Tensor] | None = None,
    *,
    min_confidence: float = 0.0,
) -> TeacherOutputs:
    """A teacher's outputs for a student's own crops: four passes, in the released order.

    Args:
        padding: bool [B, H, W] for x_l, x_0, x_1, true where a crop has no image: these pixels do not count in L_P, L_I
            and L_R. With None they count, as in the released code.
        min_confidence: see `pseudo_labels`.
    """
    z_0, z_1 = (teacher(x)[0] for x in unlabelled)
    logits, features = teacher(mix(*unlabelled, mask))
    on_mixed = pseudo_labels(mix(z_0, z_1, mask), min_confidence)
    on_labelled = pseudo_labels(teacher(images)[0], min_confidence)
    if padding is None:
        return TeacherOutputs(on_labelled, on_mixed, pooled_logits(logits), relation(features))
    valid = valid_pixels(padding, mask)
    on_labelled, on_mixed = on_labelled.masked_fill(padding[0], IGNORE), on_mixed.masked_fill(~valid[:, 0], IGNORE)
    return TeacherOutputs(on_labelled, on_mixed, pooled_logits(logits, valid), relation(features, valid))


def stored_arrays(wide: TeacherOutputs, deep: TeacherOutputs) -> dict[str, Tensor]:
    """The outputs of both teachers that students read, by the names in `maskmill.storage.caches.BATCH_STORES`.

    Labels are uint8 [B, 2, H, W], of x_l and of x_m.
    """
    labels = [torch.stack([teacher.labelled, teacher.mixed], dim=1).byte() for teacher in (wide, deep)]
    relation, pooled = _needed(wide.relation, "relation"), _needed(deep.pooled, "pooled")
    return {"wide_labels": labels[0], "relation": relation, "deep_labels": labels[1], "pooled": pooled}


def outputs_from_stores(batch: Mapping[str, Tensor]) -> tuple[TeacherOutputs, TeacherOutputs]:
    """The outputs of the wide and of the deep teacher in a batch that has the arrays of `stored_arrays`."""
    wide_l, wide_m = batch["wide_labels"].long().unbind(dim=1)
    deep_l, deep_m = batch["deep_labels"].long().unbind(dim=1)
    return TeacherOutputs(wide_l, wide_m, None, batch["relation"]), TeacherOutputs(
        deep_l, deep_m, batch["pooled"], None
    )


def valid_pixels(padding: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
    """Where x_m shows an image, bool [B, 1, H, W]; from the padding of x_l, x_0, x_1, bool [B, H, W]."""
    return ~mix(*padding[1:], mask)[:, None]


def _at_cells(valid: Tensor, maps: Tensor) -> Tensor:
    """bool [B, 1, H, W] at the centres of the cells of maps [B, C, h, w]: 0 or 1, [B, 1, h, w]."""
    return F.interpolate(valid.float(), maps.shape[-2:], mode="nearest-exact")


# Stage B: the student


def pooled_logits(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """[B, K]: the mean of logits [B, K, H, W] over all pixels, or over those that are true in `valid` [B, 1, H, W]."""
    if valid is None:
        return logits.mean(dim=(2, 3))
    return (logits * valid).sum(dim=(2, 3)) / valid.sum(dim=(2, 3)).clamp(min=1)


def image_level_loss(student: Tensor, teacher: Tensor, *, images_per_device: int = 2) -> Tensor:
    """L_I = sum over n and c of |GAP z_S - GAP z_D|.

    The released sum runs over the images of one GPU, which are two. For a batch of any size this is
    `images_per_device` times the mean over its images: 2 as released, 1 for the mean itself.

    Args:
        student, teacher: pooled logits [B, K].
    """
    return images_per_device * (student - teacher).abs().sum(dim=1).mean()


def relation(features: Tensor, valid: Tensor | None = None, side: int = 7) -> Tensor:
    """M [B, side^2, side^2]: cosine similarities of all cells of features [B, C, h, w] pooled to side x side.

    A cell of zeros has similarity 0 to all cells (the released code divides by zero there).

    Args:
        valid: bool [B, 1, H, W]; features count as zeros where it is false.
    """
    if valid is not None:
        features = features * _at_cells(valid, features)
    cells = F.normalize(F.adaptive_avg_pool2d(features, side).flatten(2), dim=1)  # [B, C, side^2]
    return cells.transpose(1, 2) @ cells


def region_level_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_R = mean over n, i, j of (M_S - M_W)^2, of the two relations."""
    return F.mse_loss(student, teacher)


def student_losses(
    student: Network,
    images: Tensor,
    labels: Tensor,
    unlabelled: tuple[Tensor, Tensor],
    mask: Tensor,
    wide: TeacherOutputs,
    deep: TeacherOutputs,
    *,
    valid: Tensor | None = None,
    lambda_1: float,
    lambda_2: float,
    images_per_device: int = 2,
    extra_passes: bool = True,
    supervised: Loss = cross_entropy,
) -> dict[str, Tensor]:
    """L = Sup + sum over both teachers of (CE on x_m + CE on x_l) + lambda_1 L_I + lambda_2 L_R, term by term.

    Its gradient is that of the released sum, which adds the teachers' own losses: constants.

    Args:
        wide, deep: the teachers' outputs for the same crops.
        valid: `valid_pixels` where padding does not count for the teachers either; None where it counts.
        lambda_1, lambda_2: weights of L_I and L_R; 0 leaves the loss out.
        extra_passes: whether x_0 and x_1 pass through the student too, which only moves its batch norms' statistics.
    """
    if extra_passes:
        with torch.no_grad():
            for batch in unlabelled:
                student(batch)
    logits_mixed, features = student(mix(*unlabelled, mask))
    logits, _ = student(images)
    losses = {
        "supervised": supervised(logits, labels),
        "pixel_mixed": total(cross_entropy(logits_mixed, teacher.mixed) for teacher in (wide, deep)),
        "pixel_labelled": total(cross_entropy(logits, teacher.labelled) for teacher in (wide, deep)),
    }
    if lambda_1:
        pooled, of_teacher = pooled_logits(logits_mixed, valid), _needed(deep.pooled, "pooled")
        losses["image"] = lambda_1 * image_level_loss(pooled, of_teacher, images_per_device=images_per_device)
    if lambda_2:
        of_teacher = _needed(wide.relation, "relation")
        losses["region"] = lambda_2 * region_level_loss(relation(features, valid), of_teacher)
    return losses


def _needed(output: Tensor | None, name: str) -> Tensor:
    if output is None:
        raise ValueError(f"the teacher's output {name!r} is missing")
    return output
