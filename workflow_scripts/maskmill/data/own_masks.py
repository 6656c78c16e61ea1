"""What a user's own masks show, and whether their ids can be meant."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskmill.data.catalog import voc_palette
from maskmill.data.images import IGNORE, mask_ids, open_image
from maskmill.data.own_files import some
from maskmill.data.voc import in_threads
from maskmill.errors import InputError

logger = logging.getLogger(__name__)


class Mask(NamedTuple):
    """What a mask shows: the number of pixels with each id, int64 [256]; the RGB colour of each id that occurs, for
    masks with a palette; whether a pixel has one bit."""

    counts: np.ndarray
    colours: dict[int, tuple[int, ...]]
    one_bit: bool


def look_at(masks: Mapping[str, Path], num_classes: int, threads: int) -> dict[str, Mask]:
    """Read masks, by the id of their image.

    Raises:
        InputError: as `maskmill.data.images.read_mask`.
    """

    def look(path: Path) -> Mask:
        image = open_image(path)
        counts = np.bincount(mask_ids(image, path, num_classes).ravel(), minlength=256)
        palette = np.reshape(image.getpalette("RGB") or [], (-1, 3)) if image.mode == "P" else np.empty((0, 3))
        colours = {
            number: tuple(map(int, palette[number]))
            for number in np.flatnonzero(counts).tolist()
            if number < len(palette)
        }
        return Mask(counts, colours, image.mode == "1")

    return dict(zip(masks, in_threads(look, list(masks.values()), threads, "masks"), strict=True))


def check_masks(folder: str | Path, masks: Mapping[Path, Mask], classes: Sequence[str]) -> None:
    """Make sure that masks show a class and that their ids mean the same in all of them.

    Args:
        folder: of the masks, for messages.
        masks: by file.
        classes: names in the order of the mask ids, from 0, which is background.

    Raises:
        InputError: no mask shows a class; some masks alone have one bit a pixel; or a colour of the palettes has two
            ids, or an id two colours, or colours of VOC's palette have other ids than there.
    """
    values = np.flatnonzero(np.sum([mask.counts for mask in masks.values()], axis=0))
    if not ((values > 0) & (values < IGNORE)).any():
        raise InputError(
            f"{folder}: {len(masks)} masks hold {' and '.join(map(str, values))} alone; 0 is background and {IGNORE} "
            f"ignore, so they show no class; save {classes[1]!r} as 1" + (", and so on" if len(classes) > 2 else "")
        )
    one_bit = [path for path, mask in masks.items() if mask.one_bit]
    if one_bit and len(one_bit) < len(masks):
        raise InputError(
            f"{one_bit[0]}: has one bit a pixel, as {len(one_bit)} of {len(masks)} masks, so white may be class 1 or "
            "ignore; save it with 8 bits"
        )
    _check_palettes(masks, len(classes))


def sum_up_masks(folder: str | Path, masks: Sequence[Mask], learned: Sequence[Mask], classes: Sequence[str]) -> None:
    """Log which ids the masks hold; warn of classes that no mask of a training image (`learned`) shows, and of what
    points to other ids than the user means."""
    counts = np.array([mask.counts for mask in masks])
    pixels, images = counts.sum(axis=0), (counts > 0).sum(axis=0)
    names, shares = dict(enumerate(classes)) | {IGNORE: "ignore"}, 100 * pixels / pixels.sum()
    parts = [f"{i} {names[i]!r} in {images[i]} ({shares[i]:.1f} %)" for i in np.flatnonzero(pixels).tolist()]
    logger.info("%s: ids, number of masks and share of pixels: %s", folder, ", ".join(parts))
    taught = np.sum([mask.counts for mask in learned or masks], axis=0)
    absent = [name for number, name in enumerate(classes) if not taught[number]]
    if absent:
        of = "of a training image " if learned else ""
        logger.warning("warning: %s: no mask %sshows %s", folder, of, some(absent))
    if pixels[IGNORE] > pixels[0]:
        logger.warning(
            "warning: %s: more pixels are ignore (%d) than background (0); if %d is your background, all ids are one "
            "too low: classes begin at 1",
            *(folder, IGNORE, IGNORE),
        )


def warn_of_contradictions(
    tagged: Mapping[str, tuple[int, ...]], shown: Mapping[str, tuple[int, ...]], classes: Sequence[str]
) -> None:
    """Warn of images whose tags are not the classes of their mask; both as mask ids by image id."""
    both = [i for i, tags in tagged.items() if i in shown and tags and tags != shown[i]]
    if both:
        tags, mask = (some([classes[number] for number in of[both[0]]]) for of in (tagged, shown))
        logger.warning(
            "warning: the tags of %d images are not what their masks show, and the tags count; the first is %s: "
            "tags %s, mask %s",
            *(len(both), both[0], tags, mask),
        )


def _check_palettes(masks: Mapping[Path, Mask], num_classes: int) -> None:
    cure = "a program has renumbered the palette: restore the ids, or save all masks as grey PNG if theirs are right"
    colour_of: dict[int, tuple[tuple[int, ...], Path]] = {}
    id_in: dict[tuple[int, ...], tuple[int, Path]] = {}
    for path, mask in masks.items():
        once = Counter(mask.colours.values())  # a palette may have the same colour for what it does not name
        for number, colour in mask.colours.items():
            other, first = id_in.setdefault(colour, (number, path)) if once[colour] == 1 else (number, path)
            if other != number:
                raise InputError(f"{path}: id {number} has the colour {colour}, which is id {other} in {first}; {cure}")
            before, first = colour_of.setdefault(number, (colour, path))
            if before != colour and number != IGNORE:  # programs differ in the colour of what nothing is learned from
                raise InputError(f"{path}: id {number} has the colour {colour}, but {before} in {first}; {cure}")
    voc = {tuple(colour): number for number, colour in enumerate(voc_palette()[:num_classes].tolist()) if number}
    things = {number: colour for number, (colour, _) in colour_of.items() if 0 < number < IGNORE}
    if all(colour in voc for colour in things.values()):
        for number, colour in things.items():
            if voc[colour] != number:
                file = colour_of[number][1]
                raise InputError(
                    f"{file}: id {number} has the colour {colour}, id {voc[colour]} in VOC's palette; {cure}"
                )
