"""Augmentation for training and multi-scale input for prediction. All randomness comes from the generator given."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from maskmill.data.images import IGNORE


@dataclass(frozen=True)
class Augmentation:
    """Random geometry and colour for training.

    Attributes:
        crop: side of the square crop, pixels; smaller images are padded (image with its mean colour, labels with 255).
        long_side: range from which the longer side is drawn, pixels; or
        scale: range from which the scale is drawn; or
        scales: from which one is drawn. Exactly one of the three is given.
        pad: where padding goes: `around` at random on both ends, `end` right and below (DeepLab v2).
        color_jitter: strength of brightness, contrast, saturation and hue changes, or None.
    """

    crop: int
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    scales: tuple[float, ...] | None = None
    pad: str = "around"
    color_jitter: tuple[float, float, float, float] | None = None

    def __post_init__(self):
        if [self.long_side, self.scale, self.scales].count(None) != 2:
            raise ValueError("give one of long_side, scale and scales")
        if self.pad not in ("around", "end"):
            raise ValueError(f"pad is {self.pad!r}; choose around or end")

    def __call__(
        self, image: np.ndarray, label: np.ndarray | None, mean, std, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Augment uint8 [H, W, 3] and, alike, labels uint8 [H, W] (or None).

        Returns the normalised image float32 [3, crop, crop] and the labels int64 [crop, crop] or None.
        """
        size = self._size(image.shape[:2], rng)
        image = resize_image(image, size)
        label = None if label is None else resize_label(label, size)
        if rng.random() < 0.5:
            image, label = image[:, ::-1], None if label is None else label[:, ::-1]
        pixels = to_tensor(image, jitter=self._jitter(rng))
        offsets = [_offset(length, self.crop, rng, self.pad) for length in size]
        pixels = _place(normalise(pixels, mean, std), offsets, self.crop, fill=0.0)
        if label is None:
            return pixels, None
        labels = torch.from_numpy(np.ascontiguousarray(label)).long()
        return pixels, _place(labels, offsets, self.crop, fill=IGNORE)

    def _size(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        if self.long_side is not None:
            factor = rng.integers(self.long_side[0], self.long_side[1] + 1) / max(size)
        elif self.scale is not None:
            factor = rng.uniform(*self.scale)
        else:
            factor = rng.choice(self.scales)
        return scaled(size, factor)

    def _jitter(self, rng: np.random.Generator):
        if self.color_jitter is None:
            return None
        *strengths, hue = self.color_jitter
        return [*(rng.uniform(1 - s, 1 + s) for s in strengths), rng.uniform(-hue, hue)]


def scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Height and width times `factor`, rounded, at least 1."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic resize of uint8 [H, W, 3] to `size` (height, width)."""
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize of uint8 [H, W] to `size` (height, width)."""
    if label.shape == size:
        return label
    return np.array(Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST))


def to_tensor(image: np.ndarray, jitter: list[float] | None = None) -> Tensor:
    """uint8 [H, W, 3] to float32 [3, H, W] in 0..1, with brightness, contrast, saturation and hue changed by
    `jitter` (factors; the last a shift)."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if jitter is not None:
        brightness, contrast, saturation, hue = jitter
        pixels = v2.functional.adjust_brightness(pixels, brightness)
        pixels = v2.functional.adjust_contrast(pixels, contrast)
        pixels = v2.functional.adjust_saturation(pixels, saturation)
        pixels = v2.functional.adjust_hue(pixels, hue)
    return pixels.float() / 255


def normalise(pixels: Tensor, mean, std) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel; pixels [..., 3, H, W] in 0..1."""
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def network_input(image: np.ndarray, mean, std, size: tuple[int, int] | None = None) -> Tensor:
    """One image uint8 [H, W, 3] as a network's input [1, 3, H', W'], resized to `size` if that is given."""
    if size is not None:
        image = resize_image(image, size)
    return normalise(to_tensor(image), mean, std)[None]


def _offset(length: int, crop: int, rng: np.random.Generator, pad: str) -> int:
    """Start of the crop inside a longer side; minus the start of a shorter side inside the crop."""
    if length >= crop:
        return int(rng.integers(0, length - crop + 1))
    if pad == "end":
        return 0
    return -int(rng.integers(0, crop - length + 1))


def _place(pixels: Tensor, offsets: list[int], crop: int, fill: float) -> Tensor:
    out = pixels.new_full((*pixels.shape[:-2], crop, crop), fill)
    y, x = offsets
    source = pixels[..., max(y, 0) : y + crop, max(x, 0) : x + crop]
    top, left = max(-y, 0), max(-x, 0)
    out[..., top : top + source.shape[-2], left : left + source.shape[-1]] = source
    return out
