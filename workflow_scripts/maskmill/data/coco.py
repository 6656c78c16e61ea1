"""MS COCO 2014: converts its instances to masks of class ids in VOC's layout.

T.-Y. Lin et al.: "Microsoft COCO: common objects in context", ECCV 2014. COCO has no semantic masks. To make them from
instances, two choices are needed, which shift scores by tenths of a percent:

- overlap: of two overlapping instances, `smaller` draws the smaller one on top, `file` the later one in the file.
- crowd: regions of many objects get their `class`, or are ignored (`ignore`, 255); like any other instance, they cover
  those below them.

coco2voc, which made the masks behind most published scores, uses `smaller` and `class`.
"""

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools.mask import decode, frPyObjects, merge

from maskmill.data.catalog import COCO, class_ids
from maskmill.data.images import IGNORE
from maskmill.data.voc import LABEL_SET, in_threads, list_text, write_mask
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text

SPLITS = ("train", "val")


class Instance(NamedTuple):
    """One annotation.

    Attributes:
        number: id of the annotation.
        image: id of its image.
        class_id: mask id, 1..80; before `_pictures` the file's own category id.
        crowd: whether it is a region of many objects.
        area: pixels, as the file states it.
        outline: polygons, each x, y, x, y, ... in pixels; or, as an array, lengths of runs down the columns,
            alternately outside and inside.
    """

    number: int
    image: int
    class_id: int
    crowd: bool
    area: float
    outline: list[np.ndarray] | np.ndarray


class Picture(NamedTuple):
    """One image and its instances, in the order of the annotation file `source`."""

    image_id: str
    image: Path
    source: Path
    height: int
    width: int
    instances: list[Instance]


def convert(root: str | Path, target: str | Path, *, overlap: str, crowd: str, threads: int = 1) -> None:
    """Convert a root to VOC's layout in `target`: masks, lists train and val, links to the images, tags as annotations,
    and the file label_set.txt, which describes how the masks were made.

    The lists hold the images with at least one instance. Tags are the classes of all instances, covered ones included.

    Args:
        overlap, crowd: see the top of this file.

    Raises:
        InputError: an annotation file is missing, truncated or of other classes, an image is missing, or an instance
            has no readable outline.
    """
    target, pictures = Path(target), {split: read_pictures(root, split) for split in SPLITS}
    shutil.rmtree(target, ignore_errors=True)  # what a killed run left
    for folder in ("JPEGImages", "SegmentationClass", "Annotations"):
        (target / folder).mkdir(parents=True)

    def convert_one(picture: Picture) -> None:
        write_mask(target / f"SegmentationClass/{picture.image_id}.png", draw_mask(picture, overlap, crowd))
        (target / f"Annotations/{picture.image_id}.xml").write_text(_tags(picture), encoding="utf-8")
        (target / f"JPEGImages/{picture.image.name}").symlink_to(picture.image.resolve())

    for split, of_split in pictures.items():
        in_threads(convert_one, of_split, threads, f"{split} masks")
        write_text(target / f"ImageSets/Segmentation/{split}.txt", list_text(picture.image_id for picture in of_split))
    write_text(target / LABEL_SET, f"official instances, overlap {overlap}, crowd {crowd}\n")


def read_pictures(root: str | Path, split: str) -> list[Picture]:
    """The images of a split that have instances, sorted by id.

    Args:
        root: folder with annotations/instances_{train,val}2014.json, train2014 and val2014.
        split: train or val.

    Raises:
        InputError: the annotation file is missing, truncated or of other classes, or an image is missing.
    """
    path = Path(root, f"annotations/instances_{split}2014.json")
    if not path.exists():
        raise InputError(f"{path}: no such file; set data.coco.root to {COCO.origin}")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file, object_hook=_compact)
        pictures = _pictures(content, path, Path(root, f"{split}2014"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{path}: truncated or not COCO's instances ({reason}); unpack annotations_trainval2014.zip again"
        ) from None
    _refuse_missing(pictures, path)
    return pictures


def draw_mask(picture: Picture, overlap: str, crowd: str) -> np.ndarray:
    """Class ids of an image, uint8 [H, W], 0 = background, 255 = ignore; see the top of this file.

    Raises:
        InputError: an instance has no readable outline.
    """
    mask = np.zeros((picture.height, picture.width), np.uint8)
    instances = picture.instances
    if overlap == "smaller":
        instances = sorted(instances, key=lambda i: i.area)[::-1]  # of two with equal area, the first is on top
    for instance in instances:
        mask[_region(instance, picture)] = IGNORE if instance.crowd and crowd == "ignore" else instance.class_id
    return mask


def _compact(node: dict) -> dict | Instance:
    """Convert an annotation of a JSON file to an instance, whose arrays take at most half the memory of lists."""
    if "segmentation" not in node:
        return node
    outline = node["segmentation"]
    if isinstance(outline, dict):
        outline = np.array(outline["counts"], np.int64)
    else:
        outline = [np.array(polygon, np.float64) for polygon in outline]
    return Instance(node["id"], node["image_id"], node["category_id"], node["iscrowd"] == 1, node["area"], outline)


def _pictures(content: dict, path: Path, folder: Path) -> list[Picture]:
    categories = content["categories"]
    try:
        numbers = class_ids((category["name"] for category in categories), COCO.classes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    number_of = {category["id"]: number for category, number in zip(categories, numbers, strict=True)}
    images = {image["id"]: image for image in content["images"]}
    of_image: dict[int, list[Instance]] = defaultdict(list)
    for instance in content["annotations"]:
        of_image[instance.image].append(instance._replace(class_id=number_of[instance.class_id]))
    pictures = [
        Picture(
            image_id=Path(images[image]["file_name"]).stem,
            image=folder / images[image]["file_name"],
            source=path,
            height=images[image]["height"],
            width=images[image]["width"],
            instances=instances,
        )
        for image, instances in of_image.items()
    ]
    return sorted(pictures, key=lambda picture: picture.image_id)


def _refuse_missing(pictures: list[Picture], path: Path) -> None:
    folders = {picture.image.parent for picture in pictures}
    existing = {folder / name for folder in folders if folder.is_dir() for name in os.listdir(folder)}
    missing = [picture.image for picture in pictures if picture.image not in existing]
    if missing:
        raise InputError(
            f"{missing[0]}: no such image; of the {len(pictures):,} labelled images of {path.name}, {len(missing):,} "
            f"are missing; restore them, or set data.coco.root to {COCO.origin}"
        )


def _region(instance: Instance, picture: Picture) -> np.ndarray:
    """The pixels of an instance, bool [H, W]."""
    size = picture.height, picture.width
    try:
        if isinstance(instance.outline, np.ndarray):
            inside = np.arange(len(instance.outline)) % 2 == 1
            return np.repeat(inside, instance.outline).reshape(size, order="F")
        return decode(merge(frPyObjects(instance.outline, *size))) == 1
    except Exception as error:  # pycocotools raises instances of Exception itself
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"{picture.source}: annotation {instance.number} has no outline on an image of {size[1]}x{size[0]} pixels "
            f"({reason}); correct or remove it"
        ) from None


def _tags(picture: Picture) -> str:
    """The image's classes as an annotation in VOC's format."""
    names = (COCO.classes[number] for number in sorted({instance.class_id for instance in picture.instances}))
    return f"<annotation>{''.join(f'<object><name>{name}</name></object>' for name in names)}</annotation>\n"
