"""Losses on labels that several methods share."""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from maskmill.data.images import IGNORE
from maskmill.training.devices import divisor


def total(losses: Iterable[Tensor]) -> Tensor:
    """The sum of one or more losses."""
    return cast(Tensor, sum(losses))


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean over the pixels that are not labelled 255, of all devices; 0 where there are none.

    Args:
        class_weights: [K]; the mean is then weighted by the pixels' classes.
    """
    total = F.cross_entropy(logits, labels, class_weights, ignore_index=IGNORE, reduction="sum")
    if class_weights is None:
        return total / divisor((labels != IGNORE).sum())
    return total / divisor(class_weights[labels[labels != IGNORE]].sum(), 1e-12)


def ohem_cross_entropy(logits: Tensor, labels: Tensor, *, min_kept: int, threshold: float = 0.7) -> Tensor:
    """Mean over the hard pixels, those whose true class has a probability of at most t (MGD on Cityscapes).

    t is `threshold`, or the min_kept-th smallest probability where that is larger, so that at least `min_kept` pixels
    are kept. With fewer than `min_kept` valid pixels all of them count. Each device selects among its own pixels, as in
    the released code.

    Args:
        min_kept: pixels of the device's part of the batch. MGD's released code keeps 50,000 per image.
    """
    valid = labels != IGNORE
    if min_kept > valid.sum():
        return cross_entropy(logits, labels)
    with torch.no_grad():
        probabilities = logits.softmax(dim=1).gather(1, labels.masked_fill(~valid, 0)[:, None])[:, 0]
        probabilities = probabilities.masked_fill(~valid, 1)
        smallest = probabilities.flatten().kthvalue(min_kept).values if min_kept else probabilities.new_zeros(())
        hard = probabilities <= smallest.clamp(min=threshold)
    return cross_entropy(logits, labels.masked_fill(~hard, IGNORE))


def supervised_loss(kept_per_image: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    """`cross_entropy`, or `ohem_cross_entropy` where there is a number of pixels per image to keep."""
    if kept_per_image is None:
        return cross_entropy
    return lambda logits, labels: ohem_cross_entropy(logits, labels, min_kept=kept_per_image * len(labels))
