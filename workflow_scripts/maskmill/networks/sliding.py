"""Logits of images larger than the window a network was trained on (evaluation of the CPS family, spec 2.5)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along a side: every `stride`, the last one moved back to end with the side.

    A side no longer than the window has one, at 0.
    """
    count = 1 + max(0, -(-(length - window) // stride))
    return [max(0, min(number * stride, length - window)) for number in range(count)]


@torch.no_grad()
def sliding_logits(
    network: Callable[[Tensor], Tensor], pixels: Tensor, window: int, *, stride: int | None = None
) -> Tensor:
    """Sum of the raw logits of all windows that see a pixel, not divided by their number.

    A side shorter than the window gets a margin of 0, the mean colour; the image is in its middle, the odd pixel
    behind it.

    Args:
        network: [B, 3, window, window] to logits [B, K, window, window].
        pixels: normalised images [B, 3, H, W].
        stride: between windows; two thirds of the window, rounded up, where None.

    Returns:
        logits [B, K, H, W].
    """
    height, width = pixels.shape[-2:]
    stride = stride or -(-2 * window // 3)
    top, left = max(0, window - height) // 2, max(0, window - width) // 2
    bottom, right = max(0, window - height - top), max(0, window - width - left)
    padded = F.pad(pixels, (left, right, top, bottom))
    total = None
    for y in window_starts(padded.shape[-2], window, stride):
        for x in window_starts(padded.shape[-1], window, stride):
            logits = network(padded[..., y : y + window, x : x + window])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], *padded.shape[-2:])
            total[..., y : y + window, x : x + window] += logits
    return total[..., top : top + height, left : left + width]


def mean_logits(network: Callable[[Tensor], Tensor], pixels: Tensor, window: int, *, stride: int) -> Tensor:
    """As `sliding_logits`, divided by the number of windows that see a pixel (GroupViT)."""
    total = sliding_logits(network, pixels, window, stride=stride)
    windows = sliding_logits(lambda x: x.new_ones(1, 1, *x.shape[2:]), pixels[:1], window, stride=stride)
    return total / windows
