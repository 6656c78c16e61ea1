"""A user's own images: a folder of images, a table of tags, masks of some images, and a list of images to score on.

All these files name an image by its path below the folder, with or without suffix. Its id is that path without suffix
and with "_" for "/", because map stores and lists have no folders.
"""

import csv
import io
import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskmill.data.catalog import class_ids
from maskmill.data.images import IGNORE, SUFFIXES, conversions
from maskmill.data.index import UNTAGGED, Record
from maskmill.data.own_files import MASK_SUFFIXES, but_others, by_id, id_of, listed, some, sum_up_files
from maskmill.data.own_masks import check_masks, look_at, sum_up_masks, warn_of_contradictions
from maskmill.data.partitions import others
from maskmill.data.voc import in_threads, index_images, refuse_twins
from maskmill.errors import InputError

TAG_COLUMNS = ("image", "tags")

logger = logging.getLogger(__name__)


def read_own(
    images: str | Path,
    classes: Sequence[str],
    *,
    tags: str | Path | None = None,
    masks: str | Path | None = None,
    val: str | Path | None = None,
    threads: int = 1,
) -> tuple[list[Record], dict[str, list[str]]]:
    """Read a user's own images.

    The split `val` has the images of the list `val`, `train` all others, and `labelled_train` those of `train` that
    have a mask. The tags of an image come from the table, or from its mask where the table has none. An image that the
    table names with an empty field shows none of the classes; one that it does not name, and that has no mask, is in
    the split `UNTAGGED` of its record. The log sums up what was read, left out and converted.

    Args:
        images: folder of images, at any depth.
        classes: names in the order of the mask ids, from 0, which is background.
        tags: CSV file, see `read_tags`.
        masks: folder with <image>.png (or TIFF, BMP): class ids, 255 = ignore.
        val: list of images, one per line; they need masks.

    Returns:
        Records of all images, in the order of their ids, and the ids of the splits train, labelled_train and val.

    Raises:
        InputError: a file or folder is missing, empty or unreadable; two images have the same id; the tags, a mask or
            the list name an image that does not exist; a class is unknown; a mask has another size than its image or
            an id out of range; the masks show no class, or have lost their ids; an image of `val` has no mask; or no
            image is left to train on.
    """
    classes = [unicodedata.normalize("NFC", name) for name in classes]
    files = find_images(images, masks)
    mask_of = find_masks(masks, files) if masks else {}
    tagged = read_tags(tags, files, classes) if tags else {}
    scored = read_val(val, files, mask_of) if val else []
    train = others(list(files), scored)
    if not train:
        raise InputError(f"{val}: names all images of {images}; leave some to train on")
    splits = {"train": train, "labelled_train": [i for i in train if i in mask_of], "val": scored}
    contents = look_at(mask_of, len(classes), threads) if masks else {}
    if masks:
        check_masks(masks, {mask_of[image_id]: mask for image_id, mask in contents.items()}, classes)
    shown = {
        i: tuple(c for c in np.flatnonzero(mask.counts).tolist() if 0 < c < IGNORE) for i, mask in contents.items()
    }
    records = index_images(
        splits | {UNTAGGED: [i for i in train if i not in tagged and i not in mask_of]},
        lambda i: (files[i], mask_of.get(i)),
        lambda i, _: tagged.get(i) or shown.get(i, ()),
        threads=threads,
    )
    changed = in_threads(conversions, list(files.values()), threads, "images")
    sum_up_files(images, files.values(), SUFFIXES, Counter(change for changes in changed for change in changes))
    _sum_up_tags([record for record in records if "train" in record.splits], classes)
    if masks:
        sum_up_files(masks, mask_of.values(), MASK_SUFFIXES, Counter())
        sum_up_masks(masks, list(contents.values()), [contents[i] for i in splits["labelled_train"]], classes)
    warn_of_contradictions(tagged, shown, classes)
    return records, splits


def find_images(folder: str | Path, masks: str | Path | None = None) -> dict[str, Path]:
    """The images below a folder by id, sorted by id; hidden files are ignored.

    Args:
        masks: the folder of masks, which must not lie within the folder of images.

    Raises:
        InputError: there is no such folder or no image in it, two images have the same id, or masks lie among the
            images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; set data.mine.images to a folder of images")
    if masks and Path(masks).resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{masks}: lies within data.mine.images, so masks would be taken for images; move it")
    images = by_id(folder, SUFFIXES)
    if not images:
        raise InputError(
            f"{folder}: no images in it{but_others(folder, SUFFIXES)}; "
            f"set data.mine.images to a folder with {', '.join(SUFFIXES)}"
        )
    return images


def find_masks(folder: str | Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """The masks below a folder by the id of their image.

    Raises:
        InputError: there is no such folder or no mask in it, or a mask of an image that does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; set data.mine.masks to a folder of masks, or to null")
    masks = by_id(folder, MASK_SUFFIXES)
    if not masks:
        raise InputError(
            f"{folder}: no masks in it{but_others(folder, MASK_SUFFIXES)}; "
            f"save class ids there as <image>.png, or set data.mine.masks to null"
        )
    for image_id, mask in masks.items():
        if image_id not in images:
            raise InputError(f"{mask}: no image has this name without its suffix; rename the mask, or remove it")
    return masks


def read_tags(path: str | Path, images: Collection[str], classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read a table of tags.

    Args:
        path: CSV file with the columns image and tags; semicolons separate the class names of an image.
        images: ids that exist.
        classes: names in the order of the mask ids, from 0, which is background.

    Returns:
        Mask ids in rising order, by image id; none where the field is empty.

    Raises:
        InputError: the file is unreadable or has other columns; or a line names an image that does not exist or occurs
            twice, or an unknown class, or opens a quote that it does not close.
    """
    known = [unicodedata.normalize("NFC", name) for name in classes[1:]]
    text = _read_text(path)
    _refuse_open_quotes(path, text)
    table = csv.DictReader(io.StringIO(text, newline=""))
    if tuple(table.fieldnames or ()) != TAG_COLUMNS:
        raise InputError(f"{path}: columns are {table.fieldnames}, not {list(TAG_COLUMNS)}; correct the first line")
    tags: dict[str, tuple[int, ...]] = {}
    for row in table:
        where = f"{path}: line {table.line_num}:"
        if None in row:
            raise InputError(f"{where} has {len(row[None]) + 2} columns; separate tags by semicolons")
        image_id = _known_id(row["image"], images, where)
        if image_id in tags:
            raise InputError(f"{where} names image {row['image']!r} again; keep one line per image")
        names = [name.strip() for name in unicodedata.normalize("NFC", row["tags"] or "").split(";")]
        try:
            ids = class_ids(filter(None, names), known)
        except InputError as error:
            raise InputError(f"{where} {error}") from None
        tags[image_id] = tuple(sorted({number + 1 for number in ids}))
    return tags


def read_val(path: str | Path, images: Collection[str], masks: Collection[str]) -> list[str]:
    """Ids of the images to score on, in the order of the list.

    Args:
        path: text file with one image per line.
        images: ids that exist.
        masks: ids that have a mask.

    Raises:
        InputError: the list is missing or empty, or an image does not exist, has no mask, or occurs twice.
    """
    lines = enumerate(_read_text(path).splitlines(), start=1)
    ids = [_known_id(line, images, f"{path}: line {number}:") for number, line in lines if line.strip()]
    if not ids:
        raise InputError(f"{path}: is empty; put one image per line there, or set data.mine.val to null")
    refuse_twins(ids, f"{path}:")
    without = next((image_id for image_id in ids if image_id not in masks), None)
    if without is not None:
        raise InputError(f"{path}: image {without} has no mask to be scored on; draw one, or remove its line")
    return ids


def training_masks(masks: str | Path | None, val: str | Path | None) -> set[str]:
    """Ids of the masks that training may use: those of images that are not on the list `val`. A folder or list that
    cannot be read counts as empty, since this is called before the stage that reports such errors."""
    try:
        scored = _read_text(val).splitlines() if val else []
    except InputError:
        scored = []
    ids = (
        set(map(id_of, (path.relative_to(masks).as_posix() for path in listed(masks, MASK_SUFFIXES))))
        if masks
        else set()
    )
    return ids - set(map(id_of, scored))


def _sum_up_tags(records: Sequence[Record], classes: Sequence[str]) -> None:
    """What the training images are tagged with."""
    images = Counter(number for record in records for number in record.classes)
    unknown = sum(UNTAGGED in record.splits for record in records)
    none = sum(not record.classes for record in records) - unknown
    parts = [f"{name!r} {images[number]}" for number, name in enumerate(classes) if images[number]]
    parts += [f"none of the classes {none}"] * (none > 0) + [f"not known {unknown}"] * (unknown > 0)
    logger.info("tags of the %d training images: %s", len(records), ", ".join(parts))
    absent = [name for number, name in enumerate(classes) if number and not images[number]]
    if absent and images:
        logger.warning("warning: no training image has the tag %s; remove the class, or add images", some(absent))


def _known_id(name: str, images: Collection[str], where: str) -> str:
    if id_of(name) not in images:
        raise InputError(f"{where} no image {name.strip()!r} below data.mine.images; correct the name")
    return id_of(name)


def _refuse_open_quotes(path: str | Path, text: str) -> None:
    """Refuse a field over several lines: a quote that is not closed swallows the lines behind it."""
    reader, line = csv.reader(io.StringIO(text, newline="")), 1
    try:
        for row in reader:
            if any("\n" in field or "\r" in field for field in row):
                raise InputError(f'{path}: line {line}: opens a quote (") and does not close it; correct the line')
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: line {line}: {error}; correct the line") from None


def _read_text(path: str | Path) -> str:
    """The text of a UTF-8 file without its byte order mark, if it has one."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct its name in data.mine") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not in UTF-8; save it again in that encoding") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct its name or permissions") from None
