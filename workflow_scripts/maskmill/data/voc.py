"""PASCAL VOC 2012 with SBD's extra masks: conversion to one root, tags, index, manifest of the splits.

A root is a folder in the devkit's layout: `JPEGImages/<id>.jpg` (or .png), `ImageSets/Segmentation/<list>.txt` and,
optionally, `SegmentationClassAug/<id>.png`, `SegmentationClass/<id>.png` and `Annotations/<id>.xml`. Other data sets
have the same layout with other names of folders, see `catalog.Layout`.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from tqdm import tqdm

from maskmill.data.catalog import VOC, Dataset, Layout, Split, class_ids, voc_palette
from maskmill.data.download import check, move_folder, unpack
from maskmill.data.images import IGNORE, TURNED, conversions, image_size, read_mask
from maskmill.data.index import Record, read_ids
from maskmill.errors import InputError
from maskmill.storage.atomic import atomic_path, write_text

LISTS = "ImageSets/Segmentation"
LABEL_SET = "label_set.txt"  # describes the labels of a root, where a data set has several sets of labels
MADE_HERE = ".made_by_prepare_voc"  # marks a root that `prepare` made and may replace; a user's own root has no mark

T = TypeVar("T")
R = TypeVar("R")


# ---- VOC 2012 and SBD as downloaded -> one root


def prepare(voc_archive: str | Path, sbd_archive: str | Path, root: str | Path, *, threads: int = 1) -> None:
    """Make `root` from VOC's and SBD's archives, with the list train_aug and all masks in one folder.

    The root appears when it is complete; it replaces an earlier one that this function made.

    Raises:
        InputError: an archive or the resulting train_aug is not the published one, or `root` holds other files.
    """
    root = Path(root)
    work = root.with_name(f".{root.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    try:
        for name, archive in (("voc2012", voc_archive), ("sbd", sbd_archive)):
            check(archive, VOC.archives[name].checksum)
            unpack(archive, work / name, VOC.archives[name].members)
        made = work / "voc2012/VOCdevkit/VOC2012"
        convert(made, work / "sbd/benchmark_RELEASE/dataset", threads=threads)
        ids = read_ids(made / LISTS / "train_aug.txt")
        if check_split(ids, VOC.splits["train_aug"]) != "published":
            raise InputError(
                f"{sbd_archive}: gives a train_aug of {len(ids)} images that is not the published one "
                f"({VOC.splits['train_aug'].images} images); delete it and run again"
            )
        (made / MADE_HERE).touch()
        if (root / MADE_HERE).exists():
            shutil.rmtree(root)
        move_folder(made, root)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def convert(voc: str | Path, sbd: str | Path, *, threads: int = 1) -> None:
    """Add the list train_aug and the folder SegmentationClassAug (palette PNGs, 255 = void) to a VOC root.

    Images get VOC's own mask; where there is none, SBD's.

    Args:
        voc: VOC 2012 in the devkit's layout.
        sbd: SBD's folder `dataset`, with `cls/<id>.mat`, `train.txt`, `val.txt`.
    """
    voc, sbd = Path(voc), Path(sbd)
    train, val = (read_list(voc, split) for split in ("train", "val"))
    ids = train_aug_ids(train, val, read_ids(sbd / "train.txt"), read_ids(sbd / "val.txt"))
    official = {*train, *val}
    target = voc / "SegmentationClassAug"
    target.mkdir(exist_ok=True)

    def convert_one(image_id: str) -> None:
        if image_id in official:
            shutil.copyfile(voc / "SegmentationClass" / f"{image_id}.png", target / f"{image_id}.png")
        else:
            write_mask(target / f"{image_id}.png", sbd_mask(sbd / "cls" / f"{image_id}.mat"))

    in_threads(convert_one, sorted({*ids, *val}), threads, "masks")
    write_text(voc / LISTS / "train_aug.txt", list_text(ids))


def train_aug_ids(
    voc_train: Iterable[str], voc_val: Iterable[str], sbd_train: Iterable[str], sbd_val: Iterable[str]
) -> list[str]:
    """The list train_aug: VOC 2012's train and all of SBD, without VOC 2012's val, sorted; 10,582 ids for the published
    lists."""
    return sorted({*voc_train, *sbd_train, *sbd_val} - {*voc_val})


def sbd_mask(path: str | Path) -> np.ndarray:
    """SBD's class mask of one image (`GTcls.Segmentation`), uint8 [H, W], ids 0..20.

    Raises:
        InputError: the file is missing, broken, or without that field.
    """
    from scipy.io import loadmat  # takes half a second to import, and only this function needs it

    try:
        mask = loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # loadmat raises whatever the broken bytes lead to
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"{path}: no readable SBD mask ({reason}); unpack SBD again") from None
    return mask.astype(np.uint8)


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Write a mask, uint8 [H, W] of class ids, as PNG with VOC's palette, atomically."""
    image = Image.fromarray(mask)
    image.putpalette(voc_palette().tobytes())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


# ---- a root -> tags, records


def tags_from_xml(path: str | Path, classes: Sequence[str] = VOC.classes) -> tuple[int, ...]:
    """Mask ids of the objects in a VOC annotation, rising; "difficult" objects count, as in IRN's labels.

    Raises:
        InputError: the file is not readable as XML, or has an object of an unknown class.
    """
    try:
        objects = ElementTree.parse(path).getroot().iterfind("object")
    except ElementTree.ParseError as error:
        raise InputError(f"{path}: not readable as XML ({error}); replace the file") from None
    try:
        return tuple(sorted(set(class_ids((o.findtext("name", "").strip() for o in objects), classes))))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def tags_from_mask(mask: np.ndarray, *, background: bool = True) -> tuple[int, ...]:
    """Mask ids in a mask uint8 [H, W], rising, without ignore (255).

    Args:
        background: whether id 0 is background, which is left out.
    """
    absent = (0, IGNORE) if background else (IGNORE,)
    return tuple(int(c) for c in np.unique(mask) if c not in absent)


def build_index(
    root: str | Path, splits: Mapping[str, Sequence[str]], dataset: Dataset = VOC, *, threads: int = 1
) -> list[Record]:
    """One record per image of the splits, in the order of the ids.

    The mask comes from the first folder of the layout that has one; without one it is None. Tags come from the XML
    annotation, or from the mask where there is no annotation. Of images, only the headers are read.

    Args:
        splits: image ids, by name of the split.

    Raises:
        InputError: an image is missing, has neither annotation nor mask, or a mask of another size; a file is
            unreadable; a class is unknown; a mask id is out of range; or no image shows a class.
    """
    root = Path(root)
    records = index_images(
        splits,
        lambda image_id: (_image_path(root, image_id, dataset), _mask_path(root, image_id, dataset)),
        lambda image_id, mask: _tags(root, image_id, mask, dataset),
        threads=threads,
    )
    if not any(record.classes for record in records):
        raise InputError(
            f"{root}: none of the {len(records)} images shows a class; masks hold class ids, and 255 means ignore: "
            "save the objects of masks of 0 and 255 as 1, 2, ..."
        )
    return records


def index_images(
    splits: Mapping[str, Sequence[str]],
    files: Callable[[str], tuple[Path, Path | None]],
    tags: Callable[[str, Path | None], tuple[int, ...]],
    *,
    threads: int = 1,
) -> list[Record]:
    """One record per image of the splits, in the order of the ids.

    Args:
        splits: image ids, by name of the split.
        files: maps an image id to the files of image and mask.
        tags: maps image id and mask to the image's tags.

    Raises:
        InputError: an image and its mask differ in size, or a file is unreadable.
    """
    splits_of: dict[str, list[str]] = {}
    for split, ids in splits.items():
        for image_id in ids:
            splits_of.setdefault(image_id, []).append(split)

    def record(image_id: str) -> Record:
        image, mask = files(image_id)
        height, width = image_size(image)
        if mask and image_size(mask) != (height, width):
            turned = TURNED in conversions(image)
            fix = "turn it as its image, which EXIF turns" if turned else "replace it"
            raise InputError(f"{mask}: height and width are {image_size(mask)}, its image's {height, width}; {fix}")
        return Record(image_id, image, mask, height, width, tags(image_id, mask), tuple(splits_of[image_id]))

    return in_threads(record, sorted(splits_of), threads, "index")


def read_list(root: str | Path, name: str, dataset: Dataset = VOC) -> list[str]:
    """The ids of a split, in the order of its list; without lists, the sorted ids of the images in the split's folder.

    Raises:
        InputError: the root is missing (the message says where to get it), or the list is missing, empty, or names an
            id twice.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.{dataset.name}.root to {dataset.origin}")
    lists = _layout(dataset).lists
    if lists is None:
        return _folder_ids(root, name, dataset)
    path = root / lists / f"{name}.txt"
    if not path.exists():
        existing = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise InputError(
            f"{path}: no such split list; put one id per line there, or choose one that exists: {existing}"
        )
    ids = read_ids(path)
    if not ids:
        raise InputError(f"{path}: is empty; put one id per line there")
    refuse_twins(ids, f"{path}:")
    return ids


def _layout(dataset: Dataset) -> Layout:
    if dataset.layout is None:
        raise ValueError(f"{dataset.name} is not in VOC's layout")
    return dataset.layout


def _folder_ids(root: Path, name: str, dataset: Dataset) -> list[str]:
    folders = {Path(folder).name: root / folder for folder in _layout(dataset).images}
    if name not in folders:
        raise InputError(
            f"data.{dataset.name}: split {name!r} is not one of {', '.join(folders)}; correct *_split in the config"
        )
    ids = sorted(path.stem for path in folders[name].glob("*.[jp][pn]g"))
    if not ids:
        raise InputError(f"{folders[name]}: no images in it; set data.{dataset.name}.root to {dataset.origin}")
    return ids


def _image_path(root: Path, image_id: str, dataset: Dataset) -> Path:
    folders = [root / folder for folder in _layout(dataset).images]
    paths = (folder / f"{image_id}{end}" for folder in folders for end in (".jpg", ".png"))
    path = next((path for path in paths if path.exists()), None)
    if path is not None:
        return path
    raise InputError(
        f"{folders[0] / image_id}.jpg: no such image (nor .png); restore it, or remove its id from the split list"
    )


def _mask_path(root: Path, image_id: str, dataset: Dataset) -> Path | None:
    paths = (root / folder / f"{image_id}.png" for folder in _layout(dataset).masks)
    return next((path for path in paths if path.exists()), None)


def _tags(root: Path, image_id: str, mask: Path | None, dataset: Dataset) -> tuple[int, ...]:
    layout = _layout(dataset)
    annotation = root / layout.annotations / f"{image_id}.xml" if layout.annotations else None
    if annotation and annotation.exists():
        return tags_from_xml(annotation, dataset.classes)
    if mask:
        return tags_from_mask(read_mask(mask, dataset.num_classes), background=dataset.has_background)
    if annotation:
        raise InputError(f"{annotation}: no such annotation and no mask, so the image has no tags; add either")
    raise InputError(
        f"{root / layout.masks[0] / image_id}.png: no such mask, so the image has no tags; restore it, or remove its "
        "id from the split list"
    )


def in_threads(function: Callable[[T], R], items: Sequence[T], threads: int, title: str) -> list[R]:
    """Apply `function` to all items and return the results in order; the first error cancels the rest.

    Threads are enough, because Pillow and zlib release Python's lock.
    """
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        return list(tqdm(pool.map(function, items), total=len(items), desc=title, mininterval=1.0))
    finally:
        pool.shutdown(cancel_futures=True)


# ---- splits and their manifest


def list_text(ids: Iterable[str]) -> str:
    """The text of a list of ids: one id per line."""
    return "".join(f"{image_id}\n" for image_id in ids)


def list_sha256(ids: Iterable[str]) -> str:
    """SHA-256 of `list_text(ids)`."""
    return hashlib.sha256(list_text(ids).encode()).hexdigest()


def check_split(ids: Sequence[str], split: Split | None) -> str:
    """Compare a list with the published list of its name.

    The order of the ids does not matter (the published lists are sorted).

    Returns:
        "published"; "unverified: ...", where the size agrees and no hash is known; "custom: ...", with both sizes; or
        "custom", where there is no published list.

    Raises:
        InputError: an id occurs twice.
    """
    refuse_twins(ids, "split list:")
    if split is None:
        return "custom"
    if list_sha256(sorted(ids)) == split.sha256:
        return "published"
    if split.sha256 is None and len(ids) == split.images:
        return f"unverified: {len(ids):,} images, as published"
    return f"custom: {len(ids):,} images, published {split.images:,}"


def manifest(
    records: Iterable[Record],
    splits: Mapping[str, Sequence[str]],
    lists: Mapping[str, str],
    dataset: Dataset = VOC,
) -> dict:
    """The contents of the splits, for a JSON file: per split the name of its list, the number of images, the list's
    SHA-256, `check_split`, and the number of images with each class.

    Args:
        records: of all images.
        splits: image ids in the list's order, by name of the split.
        lists: name of the list, by name of the split, e.g. {"train": "train_aug"}.
    """
    tags = {r.image_id: r.classes for r in records}
    return {
        split: {
            "list": lists[split],
            "images": len(ids),
            "sha256": list_sha256(ids),
            "published": check_split(ids, dataset.splits.get(lists[split])),
            "images_per_class": {
                name: sum(number in tags[image_id] for image_id in ids)
                for number, name in enumerate(dataset.classes)
                if number > 0 or not dataset.has_background
            },
        }
        for split, ids in splits.items()
    }


def refuse_twins(ids: Sequence[str], where: str) -> None:
    """Refuse a list that names an image twice.

    Args:
        where: name of the list, which begins the message.

    Raises:
        InputError: names the list and the image.
    """
    if len(set(ids)) < len(ids):
        twin = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise InputError(f"{where} names {twin} twice; remove one of the lines")
