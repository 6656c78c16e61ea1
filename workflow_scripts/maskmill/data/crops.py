"""Where to cut crops out of an image."""

import numpy as np


def five_crop(height: int, width: int, ratio: float = 0.5) -> list[tuple[int, int, int, int]]:
    """Boxes (top, left, height, width) in pixels: the four corners in reading order, then the centre.

    STEGO trains on these crops instead of whole images (ratio 0.5). Its release cuts them with torchvision's function,
    which rounds half a pixel to the even one.

    Args:
        ratio: side of a crop over side of the image, in (0, 1]; sides are rounded down, to one pixel at least.

    Raises:
        ValueError: the ratio is out of range.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"crop ratio {ratio} is not in (0, 1]")
    h, w = max(int(height * ratio), 1), max(int(width * ratio), 1)
    bottom, right = height - h, width - w
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (round(bottom / 2), round(right / 2))]
    return [(top, left, h, w) for top, left in corners]


def crop_pixels(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The part of an image [H, W, ...] inside a box (top, left, height, width)."""
    top, left, height, width = box
    return image[top : top + height, left : left + width]
