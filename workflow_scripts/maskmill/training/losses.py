"""Losses on true masks that several methods share."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from maskmill.methods.mgd import cross_entropy, ohem_cross_entropy


def supervised_loss(kept_an_image: int | None, batch_size: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean cross entropy over the pixels with a label; over the hard ones where a number of pixels an image to keep
    is given (MGD on Cityscapes)."""
    if kept_an_image is None:
        return cross_entropy
    return partial(ohem_cross_entropy, min_kept=kept_an_image * batch_size)
