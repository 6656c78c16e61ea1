"""Reading images and masks, with errors that name the file."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.errors import InputError

IGNORE = 255  # in masks and labels: a pixel that no loss and no score counts
BIASED = 254  # in labels: a pixel that MARS removed
# What Pillow raises for files that are not complete images.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

logger = logging.getLogger(__name__)


def image_files(folder: str | Path) -> list[Path]:
    """The images of a folder, sorted. Hidden files are ignored; a warning counts what else is left out, by suffix.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder of images; correct --source")
    seen = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    kinds = {path: "folders" if path.is_dir() else path.suffix.lower() or "without suffix" for path in seen}
    files = [path for path in seen if kinds[path] in SUFFIXES]
    left_out = Counter(kind for kind in kinds.values() if kind not in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no images in it; give a folder with {', '.join(SUFFIXES)}")
    if left_out:
        logger.warning("left out: %s: %s", folder, ", ".join(f"{number} {kind}" for kind, number in left_out.items()))
    return files


def output_names(files: Sequence[Path]) -> dict[Path, str]:
    """Names for files that are made from the images of a folder: the image's name without its suffix, or with it where
    two images differ only in the suffix."""
    stems = Counter(file.stem for file in files)
    names = {file: file.stem if stems[file.stem] == 1 else file.name for file in files}
    return names if len(set(names.values())) == len(files) else {file: file.name for file in files}


def readable(files: Iterable[Path]) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield files with their images, uint8 [H, W, 3] RGB; skip unreadable files, with a warning."""
    for file in files:
        try:
            yield file, read_image(file)
        except InputError as error:
            logger.warning("skipped: %s", error)


def read_image(path: str | Path, short_side: int | None = None) -> np.ndarray:
    """Read an image as uint8 [H, W, 3], RGB; of 16 bits per channel the upper 8 are kept.

    Args:
        short_side: working size: an image whose shorter side is longer is shrunk (area average) until that side has so
            many pixels; None: full size.

    Raises:
        InputError: the file is missing, truncated or not an image.
    """
    image = open_image(path)
    size = resized(image.height, image.width, short_side)
    if image.mode.startswith("I;16"):  # Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.BOX)
    return np.array(image)


def read_mask(path: str | Path, num_classes: int, short_side: int | None = None) -> np.ndarray:
    """Read a mask as uint8 [H, W] of class ids: palette PNGs give their indices, grey PNGs their values.

    Args:
        num_classes: ids 0..num_classes-1 and 255 (ignore) are allowed.
        short_side: as in `read_image`, but resized by nearest neighbour.

    Raises:
        InputError: the file is missing, broken, in colour, or holds an id out of range.
    """
    image = open_image(path)
    if image.mode not in ("P", "L", "I;16", "I", "1"):
        raise InputError(f"{path}: mask in mode {image.mode}; save class ids as a palette or grey PNG")
    size = resized(image.height, image.width, short_side)
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.NEAREST)
    mask = np.array(image)
    wrong = np.unique(mask[(mask >= num_classes) & (mask != IGNORE)])
    if wrong.size:
        raise InputError(
            f"{path}: class id {wrong[0]} is out of range 0..{num_classes - 1} (255 = ignore); "
            "correct the mask or the data set's class list"
        )
    return mask.astype(np.uint8)


def resized(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width after shrinking the shorter side to `short_side`; unchanged where that would enlarge."""
    if short_side is None or min(height, width) <= short_side:
        return height, width
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def open_image(path: str | Path) -> Image.Image:
    """Open and decode an image of any mode.

    Raises:
        InputError: the file is missing, truncated or not an image.
    """
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; restore it, or remove its id from the split list") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: truncated or not an image ({error}); replace the file and run again") from None
    return image
