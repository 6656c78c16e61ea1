"""A user's own images: a folder of images, a table of tags, masks of some images, and a list of images to score on.

All these files name an image by its path below the folder, with or without suffix. Its id is that path without suffix
and with "_" for "/", because map stores and lists have no folders.
"""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from maskmill.data.catalog import class_ids
from maskmill.data.images import SUFFIXES, read_mask
from maskmill.data.index import Record
from maskmill.data.partitions import others
from maskmill.data.voc import index_images, refuse_twins, tags_from_mask
from maskmill.errors import InputError

TAG_COLUMNS = ("image", "tags")
MASK_SUFFIXES = (".png",)


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
    have a mask. The tags of an image come from the table, or from its mask where the table has none.

    Args:
        images: folder of images, at any depth.
        classes: names in the order of the mask ids, from 0, which is background.
        tags: CSV file, see `read_tags`.
        masks: folder with <image>.png: class ids, 255 = ignore.
        val: list of images, one per line; they need masks.

    Returns:
        Records of all images, in the order of their ids, and the ids of the splits train, labelled_train and val.

    Raises:
        InputError: a file or folder is missing, empty or unreadable; two images have the same id; the tags, a mask or
            the list name an image that does not exist; a class is unknown; a mask has another size than its image or
            an id out of range; an image of `val` has no mask; or no image is left to train on.
    """
    files = find_images(images, masks)
    mask_of = find_masks(masks, files) if masks else {}
    tagged = read_tags(tags, files, classes) if tags else {}
    scored = read_val(val, files, mask_of) if val else []
    train = others(list(files), scored)
    if not train:
        raise InputError(f"{val}: names all images of {images}; leave some to train on")
    splits = {"train": train, "labelled_train": [i for i in train if i in mask_of], "val": scored}

    def tags_of(image_id: str, mask: Path | None) -> tuple[int, ...]:
        from_mask = tags_from_mask(read_mask(mask, len(classes))) if mask else ()
        return tagged.get(image_id) or from_mask

    return index_images(splits, lambda i: (files[i], mask_of.get(i)), tags_of, threads=threads), splits


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
    images = _by_id(folder, SUFFIXES)
    if not images:
        raise InputError(f"{folder}: no images in it; set data.mine.images to a folder with {', '.join(SUFFIXES)}")
    return images


def find_masks(folder: str | Path, images: Mapping[str, Path]) -> dict[str, Path]:
    """The masks below a folder by the id of their image.

    Raises:
        InputError: there is no such folder, or a mask of an image that does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; set data.mine.masks to a folder of masks, or to null")
    masks = _by_id(folder, MASK_SUFFIXES)
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
        Mask ids in rising order, by image id.

    Raises:
        InputError: the file is missing or has other columns; or a line names an image that does not exist or occurs
            twice, or an unknown class.
    """
    table = csv.DictReader(io.StringIO(_read_text(path), newline=""))
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
        names = [name.strip() for name in (row["tags"] or "").split(";")]
        try:
            ids = class_ids(filter(None, names), classes[1:])
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
    if not masks:
        return set()
    ids = {id_of(path.relative_to(masks).as_posix()) for path in visible_files(masks, MASK_SUFFIXES)}
    return ids - set(map(id_of, scored))


def visible_files(folder: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of the suffixes (given in lower case) below a folder, sorted; hidden files are ignored."""
    return [
        path
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in suffixes and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]


def id_of(name: str) -> str:
    """The id of an image from its path below the folder, with or without suffix."""
    path = PurePosixPath(name.strip())
    return "_".join((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts)


def _known_id(name: str, images: Collection[str], where: str) -> str:
    if id_of(name) not in images:
        raise InputError(f"{where} no image {name.strip()!r} below data.mine.images; correct the name")
    return id_of(name)


def _by_id(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """`visible_files` by the id of their image, sorted by id."""
    files: dict[str, Path] = {}
    for path in visible_files(folder, suffixes):
        twin = files.setdefault(id_of(path.relative_to(folder).as_posix()), path)
        if twin != path:
            raise InputError(f"{path}: has the same id as {twin.relative_to(folder)}; rename or remove one of them")
    return dict(sorted(files.items()))


def _read_text(path: str | Path) -> str:
    """The text of a UTF-8 file without its byte order mark, if it has one."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct its name in data.mine") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not in UTF-8; save it again in that encoding") from None
