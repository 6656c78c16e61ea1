"""Reading images and masks, with errors that name the file."""

import logging
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from maskmill.errors import InputError

pillow_heif.register_heif_opener()  # what iPhones save

IGNORE = 255  # in masks and labels: a pixel that no loss and no score counts
BIASED = 254  # in labels: a pixel that MARS removed
# What Pillow raises for files that are not complete images.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2"),
    *(".heic", ".heif", *((".avif",) if features.check("avif") else ())),
)
# Pillow warns above this number of pixels and refuses twice as many; its own limit takes a panorama for an attack.
Image.MAX_IMAGE_PIXELS = 2**28
TURNED = "turned upright, as EXIF says"
DEPTHS = (8, 10, 12, 14, 16, 24, 31)  # bits that cameras and microscopes use; a signed number of 32 bits has 31

logger = logging.getLogger(__name__)


def image_files(folder: str | Path) -> list[Path]:
    """The images of a folder, sorted. Hidden files are ignored; a warning counts what else is left out, by suffix.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder of images; correct --source")
    entries = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    kinds = {path: "folders" if path.is_dir() else path.suffix.lower() or "without suffix" for path in entries}
    files = [path for path in entries if kinds[path] in SUFFIXES]
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
    """Yield files with their images, uint8 [H, W, 3] RGB; skip unreadable files, with a warning. After the last one,
    say how many images were converted, see `conversions`."""
    changes: Counter[str] = Counter()
    for file in files:
        try:
            image = read_image(file)
            changes.update(conversions(file))
        except InputError as error:
            logger.warning("skipped: %s", error)
            continue
        yield file, image
    for change, number in changes.items():
        logger.info("%d images %s", number, change)


def read_image(path: str | Path, short_side: int | None = None) -> np.ndarray:
    """Read an image as uint8 [H, W, 3], RGB, upright, in the form that `rgb` describes.

    Args:
        short_side: working size: an image whose shorter side is longer is shrunk (area average) until that side has so
            many pixels; None: full size.

    Raises:
        InputError: the file is missing, truncated or not an image, or its values have no known range.
    """
    image = open_image(path)
    size = resized(image.height, image.width, short_side)
    image = _rgb(image, path)
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.BOX)
    return np.array(image)


def rgb(image: Image.Image) -> Image.Image:
    """An image in RGB as a viewer shows it: turned as EXIF says, transparent pixels on white.

    Grey values of more than 8 bits are scaled as `to_8_bits` says; of colours, Pillow keeps the upper 8 bits.

    Raises:
        ValueError: the grey values have no known range, or Pillow cannot convert this kind of image.
    """
    _turn(image)
    if _deep_grey(image):
        image = Image.fromarray(to_8_bits(np.asarray(image))[0])
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def to_8_bits(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Scale values of another type to uint8, and name the range that was taken for theirs.

    The range of fractions in 0..1 is 0..1. The range of whole numbers is that of the smallest depth in `DEPTHS` that
    holds them all, since files do not say how many of their bits a camera filled.

    Raises:
        ValueError: negative values, no numbers, or fractions above 1.
    """
    low, high = float(values.min()), float(values.max())
    fractions = values.dtype.kind == "f" and high <= 1
    if not 0 <= low <= high < 2 ** DEPTHS[-1] or not (fractions or np.array_equal(values, np.floor(values))):
        raise ValueError(f"values from {low:g} to {high:g} in {values.dtype}, whose range is not known")
    if fractions:
        return np.round(values * 255).astype(np.uint8), "fractions of 0..1"
    bits = next(bits for bits in DEPTHS if high < 2**bits)
    return (values.astype(np.int64) >> (bits - 8)).astype(np.uint8), f"{bits} bits"


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header.

    Raises:
        InputError: the file is missing or not an image.
    """
    with _opened(path) as image:
        size = image.height, image.width
        # Pillow turns TIFF files itself: their size is that of the upright image
        return size[::-1] if image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8) else size


def conversions(path: str | Path) -> list[str]:
    """What `read_image` changes in an image beside its size, one phrase for each; files of 8 bits are not decoded.

    Raises:
        InputError: the file is missing or not an image, or its values have no known range.
    """
    with _opened(path) as image:
        deep = _deep_grey(image) or _deep_colour(image)
        changes = {
            TURNED: _orientation(image) > 1,
            "with an alpha channel, laid on white": image.has_transparency_data,
            # an MPO file holds previews beside the photograph
            "with several frames, of which the first is read": getattr(image, "n_frames", 1) > 1
            and image.format != "MPO",
        }
    phrases = [change for change, happens in changes.items() if happens]
    if deep:
        phrases.append(f"of {_eight_bits(open_image(path), path)[1]}, scaled to 8 bits")
    return phrases


def read_mask(path: str | Path, num_classes: int, short_side: int | None = None) -> np.ndarray:
    """Read a mask as uint8 [H, W] of class ids: palette PNGs give their indices, grey PNGs their values.

    Args:
        num_classes: ids 0..num_classes-1 and 255 (ignore) are allowed.
        short_side: as in `read_image`, but resized by nearest neighbour.

    Raises:
        InputError: the file is missing, broken, in colour, or holds an id out of range.
    """
    return mask_ids(open_image(path), path, num_classes, short_side)


def mask_ids(image: Image.Image, path: str | Path, num_classes: int, short_side: int | None = None) -> np.ndarray:
    """The ids of a mask that `open_image` opened, see `read_mask`."""
    if image.mode not in ("P", "L", "I;16", "I", "1"):
        raise InputError(f"{path}: mask in mode {image.mode}; save class ids as a palette or grey PNG")
    size = resized(image.height, image.width, short_side)
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Image.Resampling.NEAREST)
    mask = np.array(image)
    wrong = np.unique(mask[((mask >= num_classes) & (mask != IGNORE)) | (mask < 0)])
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
    """Open and decode an image of any mode, upright.

    Raises:
        InputError: the file is missing, truncated or not an image.
    """
    with _opened(path) as image:
        image.info["deep colour"] = _deep_colour(image)
        if image.info["deep colour"] and image.format == "TIFF" and _orientation(image) > 1:  # OpenCV fails
            raise InputError(f"{path}: a turned TIFF with colours of 16 bits cannot be read; save it as PNG")
        _turn(image)
        image.load()
        return image


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """An image whose header is read; errors name the file."""
    try:
        # Pillow would map an uncompressed TIFF into memory and garble it where EXIF turns it.
        with Path(path).open("rb") as file:
            yield Image.open(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such image; restore it, or remove its id from the split list") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read by you; change its permissions and run again") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise InputError(f"{path}: more than {limit:.0f} million pixels, the limit; shrink or cut it") from None
    except UnidentifiedImageError:
        fix = "replace the file" + (", or save it as PNG," if Path(path).suffix.lower() in (".tif", ".tiff") else "")
        raise InputError(f"{path}: truncated or not an image that Pillow knows; {fix} and run again") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: truncated or not an image ({error}); replace the file and run again") from None


def _rgb(image: Image.Image, path: str | Path) -> Image.Image:
    """`rgb` of an open image, with colours of more than 8 bits scaled too."""
    if image.info["deep colour"]:
        colours = Image.fromarray(_eight_bits(image, path)[0])
        if image.has_transparency_data:
            colours.putalpha(image.convert("RGBA").getchannel("A"))
        image = colours
    try:
        return rgb(image)
    except ValueError as error:
        raise _unconverted(path, error) from None


def _eight_bits(image: Image.Image, path: str | Path) -> tuple[np.ndarray, str]:
    """`to_8_bits` of an open image: uint8 [H, W], or [H, W, 3] of colours, which Pillow cannot read whole."""
    values = np.asarray(image)
    if image.info["deep colour"]:
        import cv2  # takes a moment to import, and few images need it

        # Upright, as `open_image`. IMREAD_COLOR_RGB would give wrong values for TIFF (OpenCV 5.0).
        colours = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if colours is None:
            raise InputError(f"{path}: colours of 16 bits in a form that OpenCV cannot read; save it with 8 bits")
        values = colours[..., ::-1]
    try:
        return to_8_bits(values)
    except ValueError as error:
        raise _unconverted(path, error) from None


def _unconverted(path: str | Path, error: ValueError) -> InputError:
    return InputError(f"{path}: {error}; save the image with 8 bits in RGB or grey")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, from the file's header; 1 is upright."""
    if image.format == "PNG" and not image.info.keys() & {"exif", "Raw profile type exif", "xmp"}:
        return 1  # Pillow would decode the whole image to look behind it
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error):  # broken EXIF in a sound image
        return 1
    return orientation if orientation in range(2, 9) else 1


def _turn(image: Image.Image) -> None:
    """Turn an image whose header is read upright; TIFF files are turned as Pillow decodes them."""
    if image.format != "TIFF" and _orientation(image) > 1:
        ImageOps.exif_transpose(image, in_place=True)


def _deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _deep_colour(image: Image.Image) -> bool:
    """Whether the file, not decoded yet, has colours of 16 bits, of which Pillow keeps 8."""
    return not _deep_grey(image) and any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
