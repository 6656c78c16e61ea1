"""Cityscapes in its published folders: verification of a user's copy, index.

A root has `leftImg8bit/<split>/<city>/<id>_leftImg8bit.png` and `gtFine/<split>/<city>/<id>_gtFine_labelTrainIds.png`
(ids 0..18, 255 = ignore), where an id is <city>_<sequence>_<frame>. There are no lists: a split is its folder's images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from maskmill.data.catalog import CITIES, CITYSCAPES
from maskmill.data.images import read_mask
from maskmill.data.index import Record
from maskmill.data.voc import index_images, tags_from_mask
from maskmill.errors import InputError

IMAGE, MASK, LABEL_IDS = "_leftImg8bit.png", "_gtFine_labelTrainIds.png", "_gtFine_labelIds.png"
NUM_LABEL_IDS = 34  # ids 0..33 of the masks as published, of which training uses 19


def image_path(root: str | Path, split: str, image_id: str) -> Path:
    """File of an image."""
    return Path(root, "leftImg8bit", split, _city(image_id), image_id + IMAGE)


def mask_path(root: str | Path, split: str, image_id: str) -> Path:
    """File of an image's mask of trainIds."""
    return Path(root, "gtFine", split, _city(image_id), image_id + MASK)


def read_split(root: str | Path, split: str, *, subset: bool = False) -> list[str]:
    """The sorted ids of the images in a split's folder.

    Args:
        split: "train" or "val"; the masks of "test" are not public.
        subset: whether cities may be missing.

    Raises:
        InputError: the root is missing (the message says where to get it), there is no such split, or a city is
            missing or unknown.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.cityscapes.root to {CITYSCAPES.origin}")
    if split not in CITIES:
        raise InputError(f"data.cityscapes: split {split!r} is not one of {', '.join(CITIES)}; correct *_split")
    folder = root / "leftImg8bit" / split
    paths = list(folder.glob(f"*/*{IMAGE}"))
    found = {path.parent.name for path in paths}
    unknown = sorted(found - set(CITIES[split]))
    if unknown:
        raise InputError(f"{folder}: {', '.join(unknown)} is no city of this split; move it where it belongs")
    missing = [city for city in CITIES[split] if city not in found]
    if missing and not (subset and paths):
        raise InputError(
            f"{folder}: no images of {len(missing)} of its {len(CITIES[split])} cities ({', '.join(missing)}); unpack "
            "leftImg8bit_trainvaltest.zip there, or set data.cityscapes.subset to true to use fewer"
        )
    return sorted(path.name.removesuffix(IMAGE) for path in paths)


def build_index(
    root: str | Path, splits: Mapping[str, Sequence[str]], lists: Mapping[str, str], *, threads: int = 1
) -> list[Record]:
    """One record per image of the splits, in the order of the ids. `classes` are the trainIds in the mask, including 0
    (road), since there is no background.

    Every mask is read, although each has 2 megapixels: this gives the tags and finds wrong masks before any training.

    Args:
        splits: image ids, by name of the split.
        lists: folder of the images ("train" or "val"), by name of the split.

    Raises:
        InputError: a mask is missing, of another size than its image, or holds labelIds; a file is unreadable.
    """
    folder_of = {image_id: lists[split] for split, ids in splits.items() for image_id in ids}

    def files(image_id: str) -> tuple[Path, Path]:
        mask = mask_path(root, folder_of[image_id], image_id)
        if not mask.exists():
            raise InputError(f"{mask}: no such mask; {_remedy(mask)}")
        return image_path(root, folder_of[image_id], image_id), mask

    return index_images(splits, files, lambda _, mask: _tags(mask) if mask else (), threads=threads)


def _city(image_id: str) -> str:
    return image_id.split("_")[0]


def _remedy(mask: Path) -> str:
    if Path(str(mask).replace(MASK, LABEL_IDS)).exists():
        return f"its {LABEL_IDS[1:]} is there: run csCreateTrainIdLabelImgs of cityscapesscripts on the root"
    return "unpack gtFine_trainvaltest.zip there, then run csCreateTrainIdLabelImgs of cityscapesscripts on the root"


def _tags(mask: Path) -> tuple[int, ...]:
    tags = tags_from_mask(read_mask(mask, NUM_LABEL_IDS), background=False)
    wrong = [c for c in tags if c >= CITYSCAPES.num_classes]
    if wrong:
        raise InputError(
            f"{mask}: class id {wrong[0]} is out of range 0..{CITYSCAPES.num_classes - 1} (255 = ignore): these look "
            "like labelIds under the name of trainIds; run csCreateTrainIdLabelImgs of cityscapesscripts on the root"
        )
    return tags
