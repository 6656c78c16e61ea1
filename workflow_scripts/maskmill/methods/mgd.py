"""MGD: distil a deep and a wide teacher, both semi-supervised, into a light student.

J. Qin, J. Wu, M. Li, X. Xiao, M. Zheng, X. Wang: "Multi-Granularity Distillation Scheme Towards Lightweight
Semi-Supervised Semantic Segmentation", ECCV 2022. Losses and their scaling are those of the released code (spec 2.3,
2.4), in which the teachers do not learn from the student: every term that they could learn from is a constant.

Symbols (spec 1.3, then ours):
    x_l, y        images, labels      labelled batch, [B, 3, H, W] and int64 [B, H, W] with 255
    x_0, x_1      unlabelled          two batches of unlabelled images
    m             mask                CutMix mask, bool [B, 1, H, W]
    x_m           mix(x_0, x_1, m)    (1 - m) x_0 + m x_1
    z, f          logits, features    [B, K, H, W] and the decoder's last map [B, C, h, w]
    S, T_D, T_W   student, deep, wide
    L_P, L_I, L_R                     pixel, image and region level losses

Where the released code does something by accident or for its number of GPUs, a keyword argument has both; the first
value named is the released one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.training.losses import cross_entropy

IGNORE = 255

Network = Callable[[Tensor], tuple[Tensor, Tensor]]  # images to logits and features
Loss = Callable[[Tensor, Tensor], Tensor]  # logits and labels to a scalar


# CutMix


def cutmix_masks(
    count: int,
    size: tuple[int, int],
    rng: np.random.Generator | np.random.RandomState,
    *,
    boxes: int = 3,
    proportion: tuple[float, float] = (0.25, 0.5),
) -> np.ndarray:
    """m, bool [count, H, W]: boxes of random place and aspect; where two overlap they cancel.

    A box has 1/boxes of an area p ~ U(proportion), its height is p^u of the image's (u ~ U(0, 1)) before that scaling.
    """
    areas = rng.uniform(*proportion, size=(count, boxes))
    heights = areas ** rng.uniform(0, 1, size=(count, boxes))
    sides = np.round(np.stack([heights, areas / heights], axis=-1) * np.sqrt(1 / boxes) * size)
    starts = np.round((size - sides) * rng.uniform(0, 1, size=sides.shape))
    masks = np.zeros((count, *size), bool)
    for mask, corners, extents in zip(masks, starts.astype(int), sides.astype(int), strict=True):
        for (top, left), (height, width) in zip(corners, extents, strict=True):
            mask[top : top + height, left : left + width] ^= True
    return masks


def partner(index: int, count: int, rng: np.random.Generator, *, pairing: str = "same") -> int:
    """Index of the image x_1 that CutMix lays over image `index` of `count`.

    Args:
        pairing: `same` mixes two crops of one image, as the released loaders do, which walk one order twice;
            `independent` draws any image.
    """
    _check("pairing", pairing, ("same", "independent"))
    return index if pairing == "same" else int(rng.integers(count))


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
    """Cross pseudo supervision with CutMix: each of two branches learns the other's labels of the mixed image (2.3).

    Args:
        branches: two networks of one architecture that started differently; both learn.
        unlabelled: x_0 and x_1, or None for the labelled images alone: networks that start from nothing have no labels
            to give yet.
        weight: w_cps, 1 on VOC and 5 on Cityscapes.
        supervised: loss on the labelled images; on mixed ones it is the cross entropy.
        unlabelled_pass: what the passes of unlabelled and mixed images run in.
    """
    if unlabelled is None:
        return {"supervised": sum(supervised(branch(images)[0], labels) for branch in branches)}
    mixed = mix(*unlabelled, mask)
    with unlabelled_pass():
        with torch.no_grad():
            pseudo = [mix(*(branch(x)[0] for x in unlabelled), mask).argmax(dim=1) for branch in branches]
        on_mixed = [branch(mixed)[0] for branch in branches]
    on_labelled = [branch(images)[0] for branch in branches]
    crossed = cross_entropy(on_mixed[0], pseudo[1]) + cross_entropy(on_mixed[1], pseudo[0])
    return {"supervised": sum(supervised(logits, labels) for logits in on_labelled), "cps": weight * crossed}


# Stage B: what the teachers say


class Targets(NamedTuple):
    """All that a student's loss needs of the teachers.

    Attributes:
        labelled, mixed: labels of x_l and x_m, int64 [B, H, W], of each teacher; 255 is left out.
        pooled: z_D(x_m), averaged over the pixels, [B, K].
        relation: that of f_W(x_m), [B, side^2, side^2].
        valid: bool [B, 1, H, W], where x_m shows an image: what L_I and L_R look at. None: everywhere, also at padding.
    """

    labelled: Sequence[Tensor]
    mixed: Sequence[Tensor]
    pooled: Tensor
    relation: Tensor
    valid: Tensor | None = None


def freeze_teacher(teacher: nn.Module, *, batchnorm: str = "train") -> nn.Module:
    """A teacher that does not learn.

    Args:
        batchnorm: `train` normalises by each batch (and moves the running statistics), `eval` by what was learnt.
    """
    _check("batchnorm", batchnorm, ("train", "eval"))
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


@torch.no_grad()
def online_targets(
    wide: Network,
    deep: Network,
    images: Tensor,
    unlabelled: tuple[Tensor, Tensor],
    mask: Tensor,
    padding: tuple[Tensor, Tensor, Tensor] | None = None,
    *,
    min_confidence: float = 0.0,
) -> Targets:
    """Targets of teachers that see the student's own crops: four passes each, in the released order.

    Args:
        padding: bool [B, H, W] for x_l, x_0, x_1, true where a crop has no image: left out of L_P, L_I and L_R. None
            counts it, as the released code does.
        min_confidence: see `pseudo_labels`.
    """
    mixed = mix(*unlabelled, mask)
    apart = [[network(x)[0] for x in unlabelled] for network in (wide, deep)]
    (_, features), (logits, _) = wide(mixed), deep(mixed)
    on_mixed = [pseudo_labels(mix(first, second, mask), min_confidence) for first, second in apart]
    on_labelled = [pseudo_labels(network(images)[0], min_confidence) for network in (wide, deep)]
    if padding is None:
        return Targets(on_labelled, on_mixed, pooled_logits(logits), relation(features))
    on_labelled = [labels.masked_fill(padding[0], IGNORE) for labels in on_labelled]
    valid = ~mix(*padding[1:], mask)
    on_mixed = [labels.masked_fill(~valid, IGNORE) for labels in on_mixed]
    valid = valid[:, None]
    return Targets(on_labelled, on_mixed, pooled_logits(logits, valid), relation(features, valid), valid)


@torch.no_grad()
def cached_targets(
    labelled: Sequence[Tensor],
    unlabelled: Sequence[tuple[Tensor, Tensor]],
    logits: tuple[Tensor, Tensor],
    features: tuple[Tensor, Tensor],
    mask: Tensor,
    padding: tuple[Tensor, Tensor],
) -> Targets:
    """Targets from stored maps that went through the same crop and flip as the images.

    Labels mix exactly as logits do. Logits and features are mixed instead of being those of the mixed image, with the
    share of the mask in each of their cells: an approximation.

    Args:
        labelled, unlabelled: labels of x_l, and of x_0 and x_1, int64 [B, H, W], of each teacher.
        logits: z_D of x_0 and x_1, [B, K, h, w]. features: f_W of them, [B, C, h, w]. Both are 0 in padding.
        padding: bool [B, H, W] of x_0 and x_1, true where a crop has no image.
    """
    on_mixed = [mix(first, second, mask) for first, second in unlabelled]
    total, counted = _blend(*logits, mask), _blend(*(_at_cells(~p[:, None], logits[0]) for p in padding), mask)
    pooled = total.sum(dim=(2, 3)) / counted.sum(dim=(2, 3)).clamp(min=1)
    valid = ~mix(*padding, mask)[:, None]
    return Targets(labelled, on_mixed, pooled, relation(_blend(*features, mask)), valid)


def _at_cells(valid: Tensor, maps: Tensor) -> Tensor:
    """bool [B, 1, H, W] at the centres of the cells of maps [B, C, h, w]: 0 or 1, [B, 1, h, w]."""
    return F.interpolate(valid.float(), maps.shape[-2:], mode="nearest-exact")


def _blend(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    share = F.interpolate(mask.float(), first.shape[-2:], mode="area")
    return first.float().lerp(second.float(), share)


# Stage B: the student


def pooled_logits(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """[B, K]: the mean of logits [B, K, H, W] over all pixels, or over those that are true in `valid` [B, 1, H, W]."""
    if valid is None:
        return logits.mean(dim=(2, 3))
    return (logits * valid).sum(dim=(2, 3)) / valid.sum(dim=(2, 3)).clamp(min=1)


def image_level_loss(student: Tensor, teacher: Tensor, *, images_per_device: int = 2) -> Tensor:
    """L_I = sum over n and c of |GAP z_S - GAP z_D|.

    The released sum runs over the images of one GPU, of which there are two: over any batch that is twice the mean
    over its images, and with `images_per_device` 1 just that mean.

    Args:
        student, teacher: pooled logits [B, K].
    """
    return images_per_device * (student - teacher).abs().sum(dim=1).mean()


def relation(features: Tensor, valid: Tensor | None = None, side: int = 7) -> Tensor:
    """M [B, side^2, side^2]: cosine similarities of all cells of features [B, C, h, w] pooled to side x side.

    A cell of zeros has similarity 0 to all (the released code has no answer there).

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
    targets: Targets,
    *,
    lambda_1: float,
    lambda_2: float,
    images_per_device: int = 2,
    extra_passes: bool = True,
    supervised: Loss = cross_entropy,
) -> dict[str, Tensor]:
    """L = Sup + sum over both teachers of (CE on x_m + CE on x_l) + lambda_1 L_I + lambda_2 L_R, term by term.

    Its gradient is that of the released sum, which adds the teachers' own losses: constants.

    Args:
        targets: of `online_targets` or `cached_targets`.
        lambda_1, lambda_2: weights of L_I and L_R; 0 leaves the loss out.
        extra_passes: whether x_0 and x_1 pass through the student too, which only its batch norms' statistics notice.
    """
    if extra_passes:
        with torch.no_grad():
            for batch in unlabelled:
                student(batch)
    logits_mixed, features = student(mix(*unlabelled, mask))
    logits, _ = student(images)
    losses = {
        "supervised": supervised(logits, labels),
        "pixel_mixed": sum(cross_entropy(logits_mixed, teacher) for teacher in targets.mixed),
        "pixel_labelled": sum(cross_entropy(logits, teacher) for teacher in targets.labelled),
    }
    if lambda_1:
        pooled = pooled_logits(logits_mixed, targets.valid)
        losses["image"] = lambda_1 * image_level_loss(pooled, targets.pooled, images_per_device=images_per_device)
    if lambda_2:
        losses["region"] = lambda_2 * region_level_loss(relation(features, targets.valid), targets.relation)
    return losses


def _check(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(options)}")
