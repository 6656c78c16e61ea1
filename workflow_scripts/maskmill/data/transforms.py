"""Augmentation for training and multi-scale input for prediction. All randomness comes from the generator given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from maskmill.data.images import IGNORE

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Geometry(NamedTuple):
    """Resize, flip and crop of one image, and of all maps of it.

    Only what the crop shows is resized; labels by nearest neighbour.

    Attributes:
        size: height and width that the image is resized to, pixels.
        flip: whether it is flipped, left to right, before it is cropped.
        offsets: start of the crop in rows and columns; minus the start of an image that is shorter than the crop.
        crop: side of the square crop, or its height and width, pixels.
        interpolation: of the image, `bicubic` or `bilinear`.
    """

    size: tuple[int, int]
    flip: bool
    offsets: tuple[int, int]
    crop: int | tuple[int, int]
    interpolation: str = "bicubic"

    def image(self, image: np.ndarray, mean, std, jitter: list[float] | None = None) -> Tensor:
        """uint8 [H, W, 3] to the normalised crop, float32 [3, crop, crop]; padding has the mean colour, 0."""
        return self.normalised(self.window(image), mean, std, jitter)

    def label(self, label: np.ndarray) -> Tensor:
        """uint8 [H, W] to int64 [crop, crop]; padding is 255."""
        return self.pad(torch.from_numpy(self._window(label, Image.Resampling.NEAREST)).long(), fill=IGNORE)

    def confidence(self, confidence: np.ndarray) -> Tensor:
        """uint8 [H, W], 255 times the confidence, to float32 [crop, crop] in 0..1; padding is 0."""
        return self.pad(torch.from_numpy(self._window(confidence, Image.Resampling.BILINEAR)) / 255, fill=0.0)

    def padding(self) -> Tensor:
        """bool [crop, crop], true where there is no image."""
        rows, columns = (extent.stop - extent.start for extent in self._visible())
        return self.pad(torch.zeros(rows, columns, dtype=torch.bool), fill=True)

    def window(self, image: np.ndarray) -> np.ndarray:
        """What the crop shows of an image uint8 [H, W, 3], without padding."""
        return self._window(image, RESAMPLING[self.interpolation])

    def _window(self, array: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        rows, columns = self._visible()
        if self.flip:
            columns = slice(self.size[1] - columns.stop, self.size[1] - columns.start)
        corners = np.array([[columns.start, rows.start], [columns.stop, rows.stop]])
        box = corners * (array.shape[1], array.shape[0]) / self.size[::-1]
        window = Image.fromarray(array).resize(tuple(corners[1] - corners[0]), resample, tuple(box.flat))
        return _flip(np.array(window), self.flip)

    def normalised(self, window: np.ndarray, mean, std, jitter: list[float] | None = None) -> Tensor:
        """A `window` of the image as the normalised crop, float32 [3, crop, crop]."""
        return self.pad(normalise(to_tensor(window, jitter), mean, std), fill=0.0)

    def _visible(self) -> list[slice]:
        """Rows and columns of the resized, flipped image that are in the crop."""
        extents = zip(self.offsets, self.size, _sides(self.crop), strict=True)
        return [slice(max(offset, 0), min(offset + side, length)) for offset, length, side in extents]

    def cut(self, pixels: Tensor) -> Tensor:
        """What the crop shows of an image or map [..., H, W] that is resized and flipped already."""
        return pixels[(..., *self._visible())]

    def pad(self, window: Tensor, fill: float) -> Tensor:
        """What the crop shows [..., h, w] in its place in the crop [..., crop, crop]."""
        return _place(window, [min(offset, 0) for offset in self.offsets], self.crop, fill)


@dataclass(frozen=True)
class Augmentation:
    """Random geometry and colour for training.

    Attributes:
        crop: side of the square crop, or its height and width, pixels; smaller images are padded (image with its mean
            colour, labels with 255).
        long_side: range from which the longer side is drawn, pixels; or
        scale: range from which the scale is drawn; or
        scales: from which one is drawn; or
        square: length that both sides get, so that the aspect is not kept (BAS). Exactly one of the four is given.
        pad: where padding goes: `around` at random on both ends, `end` right and below (DeepLab v2, ST++), `centre` in
            equal parts on both ends, an odd pixel right or below (MGD).
        color_jitter: strength of brightness, contrast, saturation and hue changes, or None.
        interpolation: of the image where it is resized, `bicubic` or `bilinear`.
    """

    crop: int | tuple[int, int]
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    scales: tuple[float, ...] | None = None
    square: int | None = None
    pad: str = "around"
    color_jitter: tuple[float, float, float, float] | None = None
    interpolation: str = "bicubic"

    def __post_init__(self):
        if [self.long_side, self.scale, self.scales, self.square].count(None) != 3:
            raise ValueError("give one of long_side, scale, scales and square")
        if self.pad not in ("around", "end", "centre"):
            raise ValueError(f"pad is {self.pad!r}; choose around, end or centre")
        if self.interpolation not in RESAMPLING:
            raise ValueError(f"interpolation is {self.interpolation!r}; choose {' or '.join(RESAMPLING)}")

    def __call__(
        self, image: np.ndarray, label: np.ndarray | None, mean, std, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Augment uint8 [H, W, 3] and, alike, labels uint8 [H, W] (or None).

        Returns the normalised image float32 [3, crop, crop] (or height and width) and the labels int64, alike, or None.
        """
        geometry, jitter = self.draw(image.shape[:2], rng)
        labels = None if label is None else geometry.label(label)
        if jitter is None:
            return geometry.image(image, mean, std), labels
        # Not by `Geometry.image`: colours here refer to the whole image's mean.
        colours = _colours(_flip(resize_image(image, geometry.size, self.interpolation), geometry.flip), jitter)
        return geometry.pad(normalise(_unit(geometry.cut(colours)), mean, std), fill=0.0), labels

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[Geometry, list[float] | None]:
        """Geometry and colours (factors, see `to_tensor`) for an image of a height and width, pixels."""
        size = self._size(size, rng)
        flip = bool(rng.random() < 0.5)
        jitter = None if self.color_jitter is None else _draw_jitter(self.color_jitter, rng)
        y, x = (_offset(length, side, rng, self.pad) for length, side in zip(size, _sides(self.crop), strict=True))
        return Geometry(size, flip, (y, x), self.crop, self.interpolation), jitter

    def _size(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        if self.square is not None:
            return self.square, self.square
        if self.long_side is not None:
            factor = rng.integers(self.long_side[0], self.long_side[1] + 1) / max(size)
        elif self.scale is not None:
            factor = rng.uniform(*self.scale)
        else:
            factor = rng.choice(self.scales)
        return scaled(size, factor)


@dataclass(frozen=True)
class StrongAugmentation:
    """Strong colours and a hole, for unlabelled crops (spec 3.4, after ST++).

    Strengths, probabilities, sigma and the range of the aspect are those of the spec (3.4; 4.2, C6), the range of the
    area that of CW-BASS's release, which shrinks boxes to the crop and places them inside. Ours: that a box is drawn
    anew until it fits, and the fixed order of the colour changes.

    Attributes:
        color_jitter, jitter_p: strength of brightness, contrast, saturation and hue changes; their probability.
        grayscale_p: probability of grey.
        blur_sigma, blur_p: standard deviation of the Gaussian, pixels.
        cutout_area, cutout_aspect, cutout_p: area of the hole, as a share of the crop's, and its width / height.
    """

    color_jitter: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.25)
    jitter_p: float = 0.8
    grayscale_p: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_p: float = 0.5
    cutout_area: tuple[float, float] = (0.02, 0.4)
    cutout_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    cutout_p: float = 0.5

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change the colours of uint8 [H, W, 3]."""
        picture = Image.fromarray(image)  # Pillow changes colours at half of a tensor's cost
        if rng.random() < self.jitter_p:
            picture = _adjust(picture, _draw_jitter(self.color_jitter, rng))
        if rng.random() < self.grayscale_p:
            picture = picture.convert("L").convert("RGB")
        if rng.random() < self.blur_p:
            picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*self.blur_sigma)))
        return np.array(picture)

    def cutout(self, crop: int, rng: np.random.Generator) -> Tensor:
        """bool [crop, crop], true in the hole, if there is one."""
        hole = torch.zeros(crop, crop, dtype=torch.bool)
        if rng.random() < self.cutout_p:
            top, left, height, width = cutout_box(crop, rng, self.cutout_area, self.cutout_aspect)
            hole[top : top + height, left : left + width] = True
        return hole


def cutout_box(
    crop: int, rng: np.random.Generator, area: tuple[float, float], aspect: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random box inside a square of side `crop`, pixels.

    Area and width / height are uniform before boxes that reach beyond the square are drawn anew, which favours small
    ones.
    """
    while True:
        pixels, ratio = rng.uniform(*area) * crop**2, rng.uniform(*aspect)
        height, width = int((pixels / ratio) ** 0.5), int((pixels * ratio) ** 0.5)
        top, left = map(int, rng.integers(0, crop, size=2))
        if top + height <= crop and left + width <= crop:
            return top, left, height, width


def scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Height and width times `factor`, rounded, at least 1."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def resize_image(image: np.ndarray, size: tuple[int, int], interpolation: str = "bicubic") -> np.ndarray:
    """Resize of uint8 [H, W, 3] to `size` (height, width)."""
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], RESAMPLING[interpolation]))


def to_tensor(image: np.ndarray, jitter: list[float] | None = None) -> Tensor:
    """uint8 [H, W, 3] to float32 [3, H, W] in 0..1, with brightness, contrast, saturation and hue changed by
    `jitter` (factors; the last a shift)."""
    return _unit(_colours(image, jitter))


def _colours(image: np.ndarray, jitter: list[float] | None) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return pixels if jitter is None else _adjust(pixels, jitter)


def _unit(pixels: Tensor) -> Tensor:
    return pixels.contiguous().float().div_(255)


def normalise(pixels: Tensor, mean, std) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel; pixels [..., 3, H, W] in 0..1."""
    return (pixels - torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])


def network_input(image: np.ndarray, mean, std, size: tuple[int, int] | None = None) -> Tensor:
    """One image uint8 [H, W, 3] as a network's input [1, 3, H', W'], resized to `size` if that is given."""
    if size is not None:
        image = resize_image(image, size)
    return normalise(to_tensor(image), mean, std)[None]


def _draw_jitter(strengths: tuple[float, float, float, float], rng: np.random.Generator) -> list[float]:
    *factors, hue = strengths
    return [*(rng.uniform(1 - s, 1 + s) for s in factors), rng.uniform(-hue, hue)]


def _adjust(pixels, jitter: list[float]):
    """Colours of a uint8 tensor [3, H, W] or a Pillow image."""
    from torchvision.transforms import v2  # slow to start, and not every training changes colours

    brightness, contrast, saturation, hue = jitter
    pixels = v2.functional.adjust_brightness(pixels, brightness)
    pixels = v2.functional.adjust_contrast(pixels, contrast)
    pixels = v2.functional.adjust_saturation(pixels, saturation)
    return v2.functional.adjust_hue(pixels, hue)


def _flip(array: np.ndarray, flip: bool) -> np.ndarray:
    return array[:, ::-1].copy() if flip else array


def _offset(length: int, crop: int, rng: np.random.Generator, pad: str) -> int:
    """Start of the crop inside a longer side; minus the start of a shorter side inside the crop."""
    if length >= crop:
        return int(rng.integers(0, length - crop + 1))
    if pad == "end":
        return 0
    if pad == "centre":
        return -((crop - length) // 2)
    return -int(rng.integers(0, crop - length + 1))


def _sides(crop: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a crop."""
    return (crop, crop) if isinstance(crop, int) else tuple(crop)


def _place(pixels: Tensor, offsets: Sequence[int], crop: int | tuple[int, int], fill: float) -> Tensor:
    height, width = _sides(crop)
    if pixels.shape[-2:] == (height, width):
        return pixels
    out = pixels.new_full((*pixels.shape[:-2], height, width), fill)
    y, x = offsets
    source = pixels[..., max(y, 0) : y + height, max(x, 0) : x + width]
    top, left = max(-y, 0), max(-x, 0)
    out[..., top : top + source.shape[-2], left : left + source.shape[-1]] = source
    return out
