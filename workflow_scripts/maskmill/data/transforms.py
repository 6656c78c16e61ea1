"""Augmentation for training, and the input of networks. All random numbers come from the generator that is passed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from maskmill.choices import check_choice
from maskmill.data.images import IGNORE

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}  # with antialiasing
CHOICES = {  # of `Augmentation`
    "pad": ("around", "end", "end_before_flip", "centre", "sides"),
    "fill": ("mean", "black", "background"),
    "interpolation": (*RESAMPLING, "linear"),
    "rounding": ("nearest", "down"),
}


class Geometry(NamedTuple):
    """Resize, flip and crop of one image and of all its maps.

    Only the part that the crop shows, the "window", is resized; labels by nearest neighbour. Pillow resizes along one
    axis after the other and rounds and clips in between: a whole image along its rows first, a wide window along its
    columns. Such a window may differ from that part of the whole resized image, by 2 grey levels at most, but by more
    where `bicubic` overshoots black or white.

    Attributes:
        size: height and width that the image is resized to, pixels.
        flip: whether the image is flipped, left to right, before it is cropped.
        offsets: first row and column of the crop in the image; where the image is smaller than the crop, minus the row
            and column of the crop where the image begins.
        crop: side of the square crop, or its height and width, pixels.
        interpolation, fill: see `Augmentation`.
    """

    size: tuple[int, int]
    flip: bool
    offsets: tuple[int, int]
    crop: int | tuple[int, int]
    interpolation: str = "bicubic"
    fill: str = "mean"

    def image(
        self, image: np.ndarray, mean: Sequence[float], std: Sequence[float], jitter: list[float] | None = None
    ) -> Tensor:
        """The normalised crop, float32 [3, crop, crop], of an image uint8 [H, W, 3]."""
        return self.normalised(self.window(image), mean, std, jitter)

    def label(self, label: np.ndarray) -> Tensor:
        """The crop of labels uint8 [H, W], int64 [crop, crop]; padding is 255, or 0 where `fill` is background."""
        padding = 0 if self.fill == "background" else IGNORE
        return self.pad(torch.from_numpy(self._window(label, Image.Resampling.NEAREST)).long(), fill=padding)

    def confidence(self, confidence: np.ndarray) -> Tensor:
        """The crop of a confidence uint8 [H, W] (255 times it), float32 [crop, crop] in 0..1; padding is 0."""
        return self.pad(torch.from_numpy(self._window(confidence, Image.Resampling.BILINEAR)) / 255, fill=0.0)

    def padding(self) -> Tensor:
        """bool [crop, crop], true where the crop has no image."""
        rows, columns = (extent.stop - extent.start for extent in self._visible())
        return self.pad(torch.zeros(rows, columns, dtype=torch.bool), fill=True)

    def window(self, image: np.ndarray) -> np.ndarray:
        """The window of an image uint8 [H, W, 3], resized and flipped, without padding: uint8 [h, w, 3]."""
        if self.interpolation in RESAMPLING:
            return self._window(image, RESAMPLING[self.interpolation])
        rows, columns = self._visible()  # OpenCV resizes whole images only
        return _flip(resize_image(image, self.size, self.interpolation), self.flip)[rows, columns]

    def _window(self, array: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        rows, columns = self._visible()
        if self.flip:
            columns = slice(self.size[1] - columns.stop, self.size[1] - columns.start)
        corners = np.array([[columns.start, rows.start], [columns.stop, rows.stop]])
        box = corners * (array.shape[1], array.shape[0]) / self.size[::-1]
        window = Image.fromarray(array).resize(tuple(corners[1] - corners[0]), resample, tuple(box.flat))
        return _flip(np.array(window), self.flip)

    def normalised(
        self, window: np.ndarray, mean: Sequence[float], std: Sequence[float], jitter: list[float] | None = None
    ) -> Tensor:
        """The normalised crop, float32 [3, crop, crop], of what `window` returned."""
        return self.padded(to_tensor(window, jitter), mean, std)

    def padded(self, pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """The normalised crop, float32 [3, crop, crop], of a window [3, h, w] in 0..1."""
        if self.fill == "mean":
            return self.pad(normalise(pixels, mean, std), fill=0.0)
        return normalise(self.pad(pixels, fill=0.0), mean, std)

    def _visible(self) -> list[slice]:
        """Rows and columns of the resized and flipped image that are in the crop."""
        extents = zip(self.offsets, self.size, _sides(self.crop), strict=True)
        return [slice(max(offset, 0), min(offset + side, length)) for offset, length, side in extents]

    def cut(self, pixels: Tensor) -> Tensor:
        """The window of an image or map [..., H, W] that is already resized and flipped."""
        rows, columns = self._visible()
        return pixels[..., rows, columns]

    def pad(self, window: Tensor, fill: float) -> Tensor:
        """A window [..., h, w] at its place in the crop, [..., crop, crop], with `fill` around it."""
        return _place(window, [min(offset, 0) for offset in self.offsets], self.crop, fill)


@dataclass(frozen=True)
class Augmentation:
    """Random geometry and colour for training.

    Attributes:
        crop: side of the square crop, or its height and width, pixels; smaller images are padded.
        long_side: range of the longer side after resizing, pixels. Exactly one of `long_side`, `scale`, `scales` and
            `square` is not None.
        scale: range of the factor that the image is resized by.
        scales: factors, of which one is drawn.
        square: length of both sides after resizing, pixels; the aspect is not kept (BAS).
        pad: where padding goes: `around`, at random on both ends; `end`, right and below (ST++); `end_before_flip`,
            right and below an image that is flipped afterwards (DeepLab v2, P2AT); `centre`, in equal parts on both
            ends, an odd pixel right or below (MGD); `sides`, on all four sides, as wide as half of what the width lacks
            and, after that, half of what the height lacks, with the crop anywhere in the result (BARM).
        fill: what padding shows: `mean`, the mean colour; `black`; `background`, black that is labelled 0 (BARM). The
            labels of the other two are 255.
        color_jitter: strengths of changes of brightness, contrast, saturation and hue; None: no changes.
        interpolation: of the image: `bicubic` or `bilinear`, with antialiasing; `linear`, OpenCV's, without.
        rounding: how the lengths of the resized image's sides become whole: `nearest`, or `down` as `int` does it.

    Raises:
        ValueError: not exactly one size is given, or an option does not exist.
    """

    crop: int | tuple[int, int]
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    scales: tuple[float, ...] | None = None
    square: int | None = None
    pad: str = "around"
    fill: str = "mean"
    color_jitter: tuple[float, float, float, float] | None = None
    interpolation: str = "bicubic"
    rounding: str = "nearest"

    def __post_init__(self):
        if [self.long_side, self.scale, self.scales, self.square].count(None) != 3:
            raise ValueError("give one of long_side, scale, scales and square")
        for name, allowed in CHOICES.items():
            check_choice(name, getattr(self, name), allowed)

    def __call__(
        self,
        image: np.ndarray,
        label: np.ndarray | None,
        mean: Sequence[float],
        std: Sequence[float],
        rng: np.random.Generator,
    ) -> tuple[Tensor, Tensor | None]:
        """Augment an image and, with the same geometry, its labels.

        Args:
            image: uint8 [H, W, 3] RGB.
            label: class ids uint8 [H, W], or None.
            mean, std: normalisation of the network, RGB in 0..1.

        Returns:
            The normalised image, float32 [3, height, width] of the crop, and the labels, int64 [height, width], or
            None.
        """
        geometry, jitter = self.draw(image.shape[:2], rng)
        labels = None if label is None else geometry.label(label)
        if jitter is None:
            return geometry.image(image, mean, std), labels
        # `Geometry.image` would change colours relative to the mean of the window; here it is that of the whole image.
        colours = _colours(_flip(resize_image(image, geometry.size, self.interpolation), geometry.flip), jitter)
        return geometry.padded(_unit(geometry.cut(colours)), mean, std), labels

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[Geometry, list[float] | None]:
        """Draw the geometry and the changes of colour (`jitter` of `to_tensor`) for an image.

        Args:
            size: height and width of the image, pixels.
        """
        size = self._size(size, rng)
        flip = bool(rng.random() < 0.5)
        jitter = None if self.color_jitter is None else _draw_jitter(self.color_jitter, rng)
        margin = _margin(size, _sides(self.crop)) if self.pad == "sides" else 0
        padded = [length + 2 * margin for length in size]
        y, x = (_offset(length, side, rng, self.pad) for length, side in zip(padded, _sides(self.crop), strict=True))
        if flip and self.pad == "end_before_flip":  # what was added at the right is now at the left
            x += min(size[1] - _sides(self.crop)[1], 0)
        return Geometry(size, flip, (y - margin, x - margin), self.crop, self.interpolation, self.fill), jitter

    def _size(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        if self.square is not None:
            return self.square, self.square
        if self.long_side is not None:
            factor: float = rng.integers(self.long_side[0], self.long_side[1] + 1) / max(size)
        elif self.scale is not None:
            factor = rng.uniform(*self.scale)
        else:
            factor = rng.choice(self.scales or ())
        return scaled(size, factor, self.rounding)


@dataclass(frozen=True)
class StrongAugmentation:
    """Strong changes of colour and a hole, for unlabelled crops.

    Strengths, probabilities and sigma are those of ST++ (`dataset/transform.py`); the ranges of aspect and area are
    those of CW-BASS's release, which shrinks boxes to the crop and places them inside. Two points are our own: a box
    is drawn again until it fits, and the order of the colour changes is fixed.

    Attributes:
        color_jitter: strengths of changes of brightness, contrast, saturation and hue.
        jitter_p: probability of these changes.
        grayscale_p: probability that the crop becomes grey.
        blur_sigma: range of the standard deviation of a Gaussian blur, pixels.
        blur_p: probability of the blur.
        cutout_area: range of the hole's area, as a share of the crop's.
        cutout_aspect: range of the hole's width / height.
        cutout_p: probability of the hole.
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
        """Change the colours of an image uint8 [H, W, 3]; the result has the same shape and dtype."""
        picture = Image.fromarray(image)  # with Pillow, changes of colour cost half as much as with tensors
        if rng.random() < self.jitter_p:
            picture = _adjust(picture, _draw_jitter(self.color_jitter, rng))
        if rng.random() < self.grayscale_p:
            picture = picture.convert("L").convert("RGB")
        if rng.random() < self.blur_p:
            picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(*self.blur_sigma)))
        return np.array(picture)

    def cutout(self, crop: int, rng: np.random.Generator) -> Tensor:
        """Draw the hole: bool [crop, crop], true inside; false everywhere if there is none."""
        hole = torch.zeros(crop, crop, dtype=torch.bool)
        if rng.random() < self.cutout_p:
            top, left, height, width = cutout_box(crop, rng, self.cutout_area, self.cutout_aspect)
            hole[top : top + height, left : left + width] = True
        return hole


def cutout_box(
    crop: int, rng: np.random.Generator, area: tuple[float, float], aspect: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random box inside a square of side `crop`, pixels.

    Area and aspect are drawn uniformly until the box lies within the square, which favours small boxes.

    Args:
        crop: side of the square, pixels.
        area: range of the box's area, as a share of the square's.
        aspect: range of width / height.
    """
    while True:
        pixels, ratio = rng.uniform(*area) * crop**2, rng.uniform(*aspect)
        height, width = int((pixels / ratio) ** 0.5), int((pixels * ratio) ** 0.5)
        top, left = map(int, rng.integers(0, crop, size=2))
        if top + height <= crop and left + width <= crop:
            return top, left, height, width


def scaled(size: tuple[int, int], factor: float, rounding: str = "nearest") -> tuple[int, int]:
    """Height and width times `factor`, at least 1; `rounding` as in `Augmentation`."""
    whole = int if rounding == "down" else round
    return max(1, whole(size[0] * factor)), max(1, whole(size[1] * factor))


def resize_image(image: np.ndarray, size: tuple[int, int], interpolation: str = "bicubic") -> np.ndarray:
    """Resize an image uint8 [H, W, 3] to `size` (height, width); `interpolation` as in `Augmentation`."""
    if image.shape[:2] == size:
        return image
    if interpolation == "linear":
        import cv2  # takes a moment to import, and few trainings need it

        return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.array(Image.fromarray(image).resize(size[::-1], RESAMPLING[interpolation]))


def to_tensor(image: np.ndarray, jitter: list[float] | None = None) -> Tensor:
    """Convert an image uint8 [H, W, 3] to float32 [3, H, W] in 0..1.

    Args:
        jitter: factors of brightness, contrast and saturation, and the shift of the hue; None: colours stay.
    """
    return _unit(_colours(image, jitter))


def _colours(image: np.ndarray, jitter: list[float] | None) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return pixels if jitter is None else _adjust(pixels, jitter)


def _unit(pixels: Tensor) -> Tensor:
    return pixels.contiguous().float().div_(255)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract the mean of each channel and divide by its standard deviation; pixels [..., 3, H, W] in 0..1."""
    return (pixels - torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])


def network_input(
    image: np.ndarray, mean: Sequence[float], std: Sequence[float], size: tuple[int, int] | None = None
) -> Tensor:
    """Convert one image uint8 [H, W, 3] to a network's input, normalised float32 [1, 3, H', W'].

    Args:
        size: height and width to resize to; None: as the image.
    """
    if size is not None:
        image = resize_image(image, size)
    return normalise(to_tensor(image), mean, std)[None]


def _draw_jitter(strengths: tuple[float, float, float, float], rng: np.random.Generator) -> list[float]:
    *factors, hue = strengths
    return [*(rng.uniform(1 - s, 1 + s) for s in factors), rng.uniform(-hue, hue)]


def _adjust(pixels, jitter: list[float]):
    """Change the colours of a uint8 tensor [3, H, W] or a Pillow image."""
    from torchvision.transforms import v2  # slow to start, and not every training changes colours

    brightness, contrast, saturation, hue = jitter
    pixels = v2.functional.adjust_brightness(pixels, brightness)
    pixels = v2.functional.adjust_contrast(pixels, contrast)
    pixels = v2.functional.adjust_saturation(pixels, saturation)
    return v2.functional.adjust_hue(pixels, hue)


def _flip(array: np.ndarray, flip: bool) -> np.ndarray:
    return array[:, ::-1].copy() if flip else array


def _offset(length: int, crop: int, rng: np.random.Generator, pad: str) -> int:
    """One of `Geometry.offsets`, for a side of the image of `length` pixels."""
    if length >= crop:
        return int(rng.integers(0, length - crop + 1))
    if pad in ("end", "end_before_flip"):
        return 0
    if pad == "centre":
        return -((crop - length) // 2)
    return -int(rng.integers(0, crop - length + 1))


def _margin(size: tuple[int, int], crop: tuple[int, int]) -> int:
    """Width, pixels, of the padding on each side of an image that `pad: sides` draws the crop from."""
    margin = 0
    for length, side in zip(reversed(size), reversed(crop), strict=True):  # the width first, as in the release
        margin += max(0, (side - length - 2 * margin + 1) // 2)
    return margin


def _sides(crop: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a crop."""
    if isinstance(crop, int):
        return crop, crop
    height, width = crop
    return height, width


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
