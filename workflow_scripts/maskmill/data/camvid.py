"""CamVid with 11 classes: converts either of its two releases to class ids in VOC's layout.

The official release (G. Brostow, J. Fauqueur, R. Cipolla: "Semantic object classes in video", 2009) has colour masks of
32 classes at 960x720, named `<id>_L.png`, in one folder, and the images in another. SegNet's release
(V. Badrinarayanan, A. Kendall, R. Cipolla: "SegNet", 2017) has masks of ids at 480x360 in `{train,val,test}annot/`
beside `{train,val,test}/`. It merges further classes into the 11, so that scores on the two are not comparable.
"""

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from maskmill.data.catalog import CAMVID, CAMVID_COLOURS
from maskmill.data.images import IGNORE, open_image
from maskmill.data.voc import LABEL_SET, in_threads, list_text, write_mask
from maskmill.errors import InputError
from maskmill.storage.atomic import write_text

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
VOID = 11  # SegNet's id of pixels of no class
LOGGED = 8  # number of ignored colours that the log names


class Frame(NamedTuple):
    """One labelled image: its id, its split, and the files of image and mask."""

    image_id: str
    split: str
    image: Path
    mask: Path


def convert(root: str | Path, target: str | Path, *, threads: int = 1) -> None:
    """Convert a root of either release to VOC's layout in `target`: masks of ids (255 = ignore), lists train, val, test
    and trainval, links to the images, and the file label_set.txt, which describes the labels.

    Pixels of other colours than those of the 11 classes are ignored; the log counts them.

    Raises:
        InputError: the root is missing or of neither release, a file is unreadable, or a mask is of the other release
            than the first mask.
    """
    frames, target = find_frames(root), Path(target)
    shutil.rmtree(target, ignore_errors=True)  # what a killed run left
    for folder in ("JPEGImages", "SegmentationClass"):
        (target / folder).mkdir(parents=True)
    colours = is_coloured(frames[0].mask)

    def convert_one(frame: Frame) -> Counter:
        mask, others = colour_mask(frame.mask) if colours else (id_mask(frame.mask), Counter())
        write_mask(target / "SegmentationClass" / f"{frame.image_id}.png", mask)
        (target / "JPEGImages" / f"{frame.image_id}{frame.image.suffix}").symlink_to(frame.image.resolve())
        return others

    others: Counter = sum(in_threads(convert_one, frames, threads, "masks"), Counter())
    lists = {split: [f.image_id for f in frames if f.split == split] for split in SPLITS}
    for name, ids in (*lists.items(), ("trainval", sorted(lists["train"] + lists["val"]))):
        write_text(target / f"ImageSets/Segmentation/{name}.txt", list_text(ids))
    with Image.open(frames[0].mask) as first:
        size = f"{first.width}x{first.height}"
    write_text(target / LABEL_SET, f"{'official colours' if colours else 'SegNet ids'}, {size}\n")
    if others:
        most = ", ".join(f"{colour} {pixels:,}" for colour, pixels in others.most_common(LOGGED))
        logger.info(
            "ignored %s pixels of %d colours outside the 11 classes: %s", f"{others.total():,}", len(others), most
        )


def find_frames(root: str | Path) -> list[Frame]:
    """The labelled images of a root of either release, sorted by id.

    Raises:
        InputError: the root is missing or of neither release, a mask has no image, or an id is not one of CamVid's.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.camvid.root to {CAMVID.origin}")
    if all((root / f"{split}annot").is_dir() for split in SPLITS):
        frames = [
            Frame(mask.stem, split, _image(root / split, mask.stem), mask)
            for split in SPLITS
            for mask in (root / f"{split}annot").glob("*.png")
        ]
    else:
        masks = list(root.glob("*/*_L.png"))
        folder = _image_folder(root, masks)
        ids = [mask.name.removesuffix("_L.png") for mask in masks]
        frames = [Frame(i, split_of(i), _image(folder, i), mask) for i, mask in zip(ids, masks, strict=True)]
    if not frames:
        raise InputError(f"{root}: no masks of CamVid; set data.camvid.root to {CAMVID.origin}")
    return sorted(frames)


def split_of(image_id: str) -> str:
    """The split of an image, from ranges of the four sequences. They give the sets of images of SegNet's release, which
    PIDNet and P2AT use too.

    Raises:
        InputError: the id is of no sequence of CamVid.
    """
    sequence = image_id.split("_")[0]
    if sequence not in ("0001TP", "0006R0", "0016E5", "Seq05VD"):
        raise InputError(
            f"{image_id}_L.png: no image of CamVid; its names begin with 0001TP, 0006R0, 0016E5 or Seq05VD"
        )
    if sequence == "Seq05VD" or (sequence == "0001TP" and image_id >= "0001TP_008550"):
        return "test"
    return "val" if "0016E5_07959" <= image_id <= "0016E5_08159" else "train"


def is_coloured(mask: str | Path) -> bool:
    """Whether a mask holds colours instead of ids."""
    return open_image(mask).mode in ("RGB", "RGBA")


def colour_mask(path: str | Path) -> tuple[np.ndarray, Counter]:
    """Convert a colour mask to ids.

    Returns:
        Ids uint8 [H, W], 255 where the colour is of none of the 11 classes; and the number of pixels of each such
        colour.

    Raises:
        InputError: the file is unreadable or has no colours.
    """
    image = open_image(path)
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(
            f"{path}: mask in mode {image.mode} among masks in colour; keep one release in data.camvid.root"
        )
    codes = _codes(np.array(image.convert("RGB")))
    colours, cells, counts = np.unique(codes, return_inverse=True, return_counts=True)
    known = {int(code): number for number, code in enumerate(_codes(np.array(CAMVID_COLOURS)))}
    ids = np.array([known.get(int(code), IGNORE) for code in colours], np.uint8)
    others = {_colour(int(code)): int(n) for code, n in zip(colours, counts, strict=True) if int(code) not in known}
    return ids[cells].reshape(codes.shape), Counter(others)


def id_mask(path: str | Path) -> np.ndarray:
    """Read one of SegNet's masks: ids uint8 [H, W], with 255 for void.

    Raises:
        InputError: the file is unreadable, in colour, or holds another id than 0..11.
    """
    image = open_image(path)
    if image.mode not in ("L", "P"):
        raise InputError(f"{path}: mask in mode {image.mode} among masks of ids; keep one release in data.camvid.root")
    mask = np.array(image)
    if mask.max() > VOID:
        raise InputError(f"{path}: class id {mask.max()} is out of range 0..{VOID} ({VOID} = void); replace the file")
    return np.where(mask == VOID, IGNORE, mask).astype(np.uint8)


def _image(folder: Path, image_id: str) -> Path:
    for suffix in (".png", ".jpg"):
        if (folder / f"{image_id}{suffix}").exists():
            return folder / f"{image_id}{suffix}"
    raise InputError(
        f"{folder / image_id}.png: no such image (nor .jpg), but a mask of it; restore it or remove the mask"
    )


def _image_folder(root: Path, masks: list[Path]) -> Path:
    """The folder with the image of the first mask; `root` if there is none."""
    first = masks[0].name.removesuffix("_L.png") if masks else ""
    return next((path.parent for path in sorted(root.glob(f"*/{first}.*g"))), root) if first else root


def _codes(colours: np.ndarray) -> np.ndarray:
    """One number per colour, int64 [...], of RGB uint8 [..., 3]."""
    return colours.astype(np.int64) @ (1 << 16, 1 << 8, 1)


def _colour(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255
