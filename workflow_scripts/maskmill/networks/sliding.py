"""Logits of images that are larger than the window a network was trained on, as MGD's and CPS's released code and
GroupViT evaluate them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along a side: one per `stride` pixels, the last one moved back to end with the side.

    A side that is no longer than the window has one window, at 0.
    """
    count = 1 + max(0, -(-(length - window) // stride))
    return [max(0, min(number * stride, length - window)) for number in range(count)]


@torch.no_grad()
def sliding_logits(
    network: Callable[[Tensor], Tensor],
    pixels: Tensor,
    window: int,
    *,
    stride: int | None = None,
    black: Tensor | None = None,
) -> Tensor:
    """For each pixel, the sum of the raw logits of all windows that contain it, not divided by their number.

    A side that is shorter than the window gets margins of 0, the mean colour. The image lies in the middle; an odd
    pixel of margin lies behind it.

    Args:
        network: [B, 3, window, window] to logits [B, K, window, window].
        pixels: normalised images [B, 3, H, W].
        stride: between windows, in pixels; None: two thirds of the window, rounded up.
        black: a black pixel, normalised, [1, 3, 1, 1]: the colour of margins where only one side is shorter than the
            window, as in MGD's released evaluator; None: they have the mean colour too.

    Returns:
        logits [B, K, H, W].
    """
    height, width = pixels.shape[-2:]
    stride = stride or -(-2 * window // 3)
    top, left = max(0, window - height) // 2, max(0, window - width) // 2
    bottom, right = max(0, window - height - top), max(0, window - width - left)
    padded = F.pad(pixels, (left, right, top, bottom))
    if black is not None and (height < window < width or width < window < height):
        margins = F.pad(torch.zeros_like(pixels[:, :1]), (left, right, top, bottom), value=1.0)
        padded = padded + margins * black
    total: Tensor | None = None
    for y in window_starts(padded.shape[-2], window, stride):
        for x in window_starts(padded.shape[-1], window, stride):
            logits = network(padded[..., y : y + window, x : x + window])
            if total is None:
                total = logits.new_zeros(*logits.shape[:2], *padded.shape[-2:])
            total[..., y : y + window, x : x + window] += logits
    assert total is not None  # there is at least one window
    return total[..., top : top + height, left : left + width]


def mean_logits(network: Callable[[Tensor], Tensor], pixels: Tensor, window: int, *, stride: int) -> Tensor:
    """For each pixel, the mean of the logits of all windows that contain it (GroupViT); see `sliding_logits`."""
    total = sliding_logits(network, pixels, window, stride=stride)
    windows = sliding_logits(lambda x: x.new_ones(1, 1, *x.shape[2:]), pixels[:1], window, stride=stride)
    return total / windows
