"""The data sets as the workflow knows them: where they come from, their classes, their published splits."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from maskmill.errors import InputError


@dataclass(frozen=True)
class Archive:
    """A file to download.

    `urls` are tried in order; `checksum` is "md5:<hex>" or "sha256:<hex>"; `members` are the folders
    and files that are unpacked from it; `size` is in bytes, None where no source states it.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str
    members: tuple[str, ...]
    size: int | None = None


@dataclass(frozen=True)
class Split:
    """A published split: the number of its images, the SHA-256 of its id list (one id a line, LF)."""

    images: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A data set. `classes` are in the order of the mask ids, from 0 (background)."""

    name: str
    classes: tuple[str, ...]
    archives: dict[str, Archive] = field(default_factory=dict)
    splits: dict[str, Split] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.classes)


VOC = Dataset(
    name="voc",
    classes=(
        *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
        *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
        *("train", "tvmonitor"),
    ),
    archives={
        # First URL and MD5: torchvision 0.29.1, datasets/voc.py. Second URL: J. Redmon's mirror, from which
        # KerasCV downloads. Size: what the servers answer.
        "voc2012": Archive(
            name="VOCtrainval_11-May-2012.tar",
            urls=(
                "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                "https://data.pjreddie.com/files/VOCtrainval_11-May-2012.tar",
            ),
            checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
            members=tuple(
                f"VOCdevkit/VOC2012/{folder}"
                for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation")
            ),
            size=1_999_639_040,
        ),
        # URL and MD5: torchvision 0.29.1, datasets/sbd.py.
        "sbd": Archive(
            name="benchmark.tgz",
            urls=(
                "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            ),
            checksum="md5:82b4d87ceb2ed10f6038a1cba92111cb",
            members=tuple(f"benchmark_RELEASE/dataset/{name}" for name in ("cls", "train.txt", "val.txt")),
        ),
    },
    # The lists that IRN and BAS use; train_aug is VOC's train with SBD's images, without val.
    splits={
        "train": Split(1_464, "aa623bd2c8ce4443a8aaae51c524c0eb165e8e44caf6aa9e3ad33d7b75a3ef20"),
        "train_aug": Split(10_582, "d1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24"),
        "val": Split(1_449, "cdc1326d12f69ce5153aa5da04a4d8783e146868d42d19f82f44e74b97ac907d"),
    },
)


def class_ids(names: Iterable[str], classes: Sequence[str] = VOC.classes) -> tuple[int, ...]:
    """Mask ids of class names, in the order of `names`.

    Raises:
        InputError: a name is not among `classes`; the message offers the nearest one.
    """
    ids = {name: number for number, name in enumerate(classes)}
    names = tuple(names)
    for name in names:
        if name not in ids:
            nearest = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
            fix = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(classes)}"
            raise InputError(f"unknown class {name!r}; {fix}")
    return tuple(ids[name] for name in names)


def voc_palette() -> np.ndarray:
    """VOC's colours, uint8 [256, 3] RGB, one row per id.

    The id's bits, from the lowest, go in turn to red, green and blue, which fill up from their highest bit.
    Source: the colour map of the VOC development kit.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return palette


DATASETS = {"voc": VOC}


def averaged_ids(dataset: Dataset, names: Sequence[str] | None) -> tuple[int, ...] | None:
    """Mask ids that scores are averaged over: background and the named classes; None (all) where no names are given."""
    return None if names is None else (0, *class_ids(names, dataset.classes))
