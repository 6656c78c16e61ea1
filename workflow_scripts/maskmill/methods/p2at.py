"""P2AT's losses: hard pixels of the final logits, all pixels of the auxiliary ones, balanced classes.

M. A. M. Elhassan, C. Zhou, A. Benabid, A. B. M. Adam: "P2AT: Pyramid pooling axial transformer for real-time semantic
segmentation", Expert Systems with Applications 255, 2024. The released trainer (mohamedac29/P2AT) cannot run: its loss,
PIDNet's (J. Xu et al., CVPR 2023), needs a boundary map where the network gives class logits. Both solutions here are
reconstructions: `semantic` uses the second auxiliary head for classes as well, `boundary` uses it for boundaries.

Symbols: z final logits [B, K, H, W], z_1 and z_2 auxiliary logits, y labels int64 [B, H, W] with 255, p probability of
a pixel's true class, b boundary logits [B, 1, H, W].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from maskmill.choices import check_choice
from maskmill.data.images import IGNORE
from maskmill.training.losses import cross_entropy


def losses(
    outputs: Tensor | tuple[Tensor, Tensor, Tensor],
    labels: Tensor,
    *,
    auxiliary: str = "semantic",
    balance: tuple[float, float] = (0.4, 1.0),
    near_boundary: float = 1.0,
    auxiliary_mean: str = "valid",
    ohem: dict,
    class_weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Weighted terms of the loss; scalars.

    Args:
        outputs: z, z_1 and z_2; with `boundary`, b instead of z_2; z alone for a network without auxiliary heads.
        labels: y.
        auxiliary: `semantic` or `boundary`.
        balance: weights of the auxiliary and of the final logits (BALANCE_WEIGHTS of the release).
        near_boundary: weight of the final logits' loss near boundaries, for `boundary` (AUX_WEIGHTS of the release).
        auxiliary_mean: what the auxiliary logits' loss is a mean over: `official`, all pixels, where those labelled 255
            count as 0 (`_standard_loss` of the released `losses/criterion.py`, averaged by PIDNet's trainer); `valid`,
            the others, weighted by their classes.
        ohem: `threshold` and `min_kept`, see `ohem_cross_entropy`; where `images` is given, `min_kept` is meant for
            that many images, and changes in proportion to those of the batch.
        class_weights: float [K], see `balanced_weights`.

    Raises:
        ValueError: `auxiliary_mean` is another word.
    """
    check_choice("auxiliary_mean", auxiliary_mean, ("official", "valid"))
    auxiliary_loss = mean_over_all if auxiliary_mean == "official" else cross_entropy
    kept = ohem["min_kept"] * len(labels) // ohem.get("images", len(labels))
    ohem = {"threshold": ohem["threshold"], "min_kept": kept}
    final, *others = outputs if isinstance(outputs, tuple) else (outputs,)
    hard = balance[1] * ohem_cross_entropy(final, labels, **ohem, class_weights=class_weights)
    if not others:
        return {"hard": hard}
    first, second = others
    if auxiliary == "semantic":
        both = auxiliary_loss(first, labels, class_weights) + auxiliary_loss(second, labels, class_weights)
        return {"hard": hard, "auxiliary": balance[0] * both}
    near = labels.masked_fill(second[:, 0].sigmoid() <= 0.8, IGNORE)
    return {
        "hard": hard,
        "auxiliary": balance[0] * auxiliary_loss(first, labels, class_weights),
        "boundary": boundary_loss(second, boundaries(labels)),
        "near_boundary": near_boundary * ohem_cross_entropy(final, near, **ohem, class_weights=class_weights),
    }


def mean_over_all(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross entropy averaged over all pixels; those labelled 255 count as 0. A scalar."""
    return F.cross_entropy(logits, labels, class_weights, ignore_index=IGNORE, reduction="sum") / labels.numel()


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, *, threshold: float, min_kept: int, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over the hard pixels of the batch, those with p < t; 0 if there are none.

    t is `threshold`, or the min_kept-th smallest p (counted from 0) if that is larger, so that about `min_kept` pixels
    remain.
    """
    valid = labels != IGNORE
    pixels = F.cross_entropy(logits, labels, class_weights, ignore_index=IGNORE, reduction="none")[valid]
    if not len(pixels):
        return logits.sum() * 0
    with torch.no_grad():
        p = logits.softmax(dim=1).gather(1, labels.masked_fill(~valid, 0)[:, None])[:, 0][valid]
        kth = p.kthvalue(min(min_kept, len(p) - 1) + 1).values
        hard = p < kth.clamp(min=threshold)
    return pixels[hard].sum() / hard.sum().clamp(min=1)


def balanced_weights(pixels: Tensor) -> Tensor:
    """Class weights 1 / ln(1.02 + share of the pixels), scaled to mean 1 over the classes that occur; float32 [K].

    This is ENet's weighting (A. Paszke et al., 2016); the sources at hand do not give that of P2AT.

    Args:
        pixels: number of training pixels of each class, [K].
    """
    weights = 1 / torch.log(1.02 + pixels / pixels.sum().clamp(min=1))
    return (weights / weights[pixels > 0].mean()).float()


def boundaries(labels: Tensor, width: int = 4) -> Tensor:
    """Float32 [B, 1, H, W], 1 in bands of `width` pixels where two classes meet; a border to 255 is no boundary.

    Reconstructed: the release filters the labels with Sobel's kernel and a threshold, which also outlines 255.
    """
    down, right = (_differs(labels, labels.roll(-1, dim), dim) for dim in (1, 2))
    edges = (down | right).float()[:, None]
    before, after = width // 2, (width - 1) // 2
    return F.max_pool2d(F.pad(edges, (before, after, before, after)), width, stride=1)


def _differs(labels: Tensor, neighbours: Tensor, dim: int) -> Tensor:
    differs = (labels != neighbours) & (labels != IGNORE) & (neighbours != IGNORE)
    differs.narrow(dim, -1, 1).fill_(False)  # there `roll` compares with the other end of the image
    return differs


def boundary_loss(logits: Tensor, target: Tensor, *, bce_weight: float = 20.0) -> Tensor:
    """`bce_weight` times `weighted_bce`, plus the Dice loss. A scalar.

    Args:
        logits: b.
        target: float [B, 1, H, W] of 0 and 1.
    """
    probability = logits.sigmoid()
    dice = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
    return bce_weight * weighted_bce(logits, target) + dice


def weighted_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross entropy. Pixels of the boundary are weighted by the share of all others, and these by the share
    of the boundary."""
    share = target.mean()
    weight = torch.where(target > 0, 1 - share, share)
    return F.binary_cross_entropy_with_logits(logits, target, weight)
