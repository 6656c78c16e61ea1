"""Compare two stores of labels of the same images: how much they agree, and which of them is right.

By hand: maskmill compare work/sample/voc/irn/pseudo_labels.h5 work/sample/voc/mars/irn/pseudo_labels.h5 \\
             --output changes.csv
In: `first`, `second`, stores of kind label. Out: `output`, CSV, or the same on stdout. Columns, all values in percent:
    image_id, class_name   both empty: all images and classes; then one row per class; then the images that differ most
    changed                share of the pixels that have another label; in the row of a class, of the pixels that had
                           that class in `first`
    agreement              mIoU (of one class: IoU) of one store against the other; pixels that are 255 in either do not
                           count
    first, second          mIoU (of one class: IoU) of each store against the masks, where there are any
In the scores, pixels that were removed as biased (254) count as background, as in every table of results. Against the
masks, so do pixels that a store ignores (255). Where two maps differ in size, the second is resized to the first.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from maskmill.data.catalog import averaged_ids
from maskmill.data.images import BIASED, IGNORE, read_mask
from maskmill.data.work_folder import dataset_of, find_index, located_records
from maskmill.errors import InputError
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.progress import progress
from maskmill.refinement.resize import resize_labels
from maskmill.storage.atomic import atomic_path
from maskmill.storage.maps import Maps, open_labels

logger = logging.getLogger(__name__)

Score = Callable[[np.ndarray], list[dict]]  # the scores of a confusion matrix
MATRICES = ("agreement", "first", "second")


@dataclass
class Counts:
    """Pixels of one image or of many.

    Attributes:
        labels: number of pixels of each label in the first store, [256].
        changed: those of them that have another label in the second store, [256].
        agreement: confusion matrix of the second store against the first.
        first, second: confusion matrix of each store against the masks; None where there is no mask.
    """

    labels: np.ndarray
    changed: np.ndarray
    agreement: np.ndarray
    first: np.ndarray | None
    second: np.ndarray | None


def main(
    first: str,
    second: str,
    output: str | None = None,
    images: int = 20,
    index: str | None = None,
    dataset: str | None = None,
    classes: list[str] = (),  # type: ignore[assignment]
) -> None:
    """Compare the labels of two stores image by image.

    Args:
        first: .h5 file with label maps
        second: .h5 file with label maps of the same images
        output: CSV file that is written; default: stdout
        images: number of images that are listed, those that differ most
        index: CSV with one row per image, which names the masks; default: that of the work folder that `first` is in
        dataset: name of the data set whose classes the labels have; default: that of the work folder
        classes: names of the classes that scores are restricted to, as `data.<dataset>.classes` in the configuration;
            default: all
    """
    if images < 0:
        raise InputError(f"--images: {images}; give 0 or more")
    index_file = index or find_index(first)
    data = dataset_of(dataset, index_file)
    if data is None:
        raise InputError(f"{first}: not in the work folder of a data set; say whose classes it has with --dataset")
    score = partial(scores, class_names=data.classes, averaged=averaged_ids(data, list(classes) or None))
    before, after = open_labels(first), open_labels(second)
    check_same_images(before, after)
    records = located_records(index_file) if index_file else {}
    counts = {}
    for image_id in progress(sorted(before), "compare"):
        mask = records[image_id].mask if image_id in records else None
        truth = None if mask is None else read_mask(mask, data.num_classes)
        counts[image_id] = count(before[image_id], after[image_id], truth, data.num_classes)
    table = pd.DataFrame(rows_of(counts, score, data.classes, images))
    if output is None:
        table.to_csv(sys.stdout, index=False, float_format="%.2f")
        return
    with atomic_path(output) as path:
        table.to_csv(path, index=False, float_format="%.2f")
    logger.info("%s: %d images, %.2f %% of the pixels changed", output, len(counts), table["changed"].iloc[0])


def check_same_images(first: Maps, second: Maps) -> None:
    """Raises InputError where two stores hold maps of different images, or none."""
    if not len(first):
        raise InputError(f"{first.path}: holds no maps; give another store")
    unmatched = sorted(set(first) ^ set(second))
    if unmatched:
        where = first if unmatched[0] in first else second
        raise InputError(
            f"{first.path} and {second.path}: {len(unmatched)} images are in one of them only, e.g. {unmatched[0]} in "
            f"{where.path}; give stores of the same images"
        )


def count(first: np.ndarray, second: np.ndarray, truth: np.ndarray | None, num_classes: int) -> Counts:
    """Counts of one image's labels, uint8 [H, W] each; the mask is `truth`, or None."""
    against_truth: list[np.ndarray | None] = [None, None]
    if truth is not None:
        against_truth = [confusion(truth, resize_labels(one, truth.shape), num_classes) for one in (first, second)]
    second = resize_labels(second, first.shape)
    reference = np.where(second == IGNORE, IGNORE, np.where(first == BIASED, 0, first))
    return Counts(
        np.bincount(first.ravel(), minlength=256),
        np.bincount(first[first != second], minlength=256),
        confusion(reference, second, num_classes),
        *against_truth,
    )


def rows_of(counts: dict[str, Counts], score: Score, names: Sequence[str], images: int) -> list[dict]:
    """The rows of the table: all images, each class that occurs, and the `images` that changed most."""
    total = sum_counts(list(counts.values()))
    masks = sum(one.first is not None for one in counts.values())
    logger.info("%d of %d images have a mask", masks, len(counts))
    rows = [{"image_id": "", "class_name": "", **means(total, score)}]
    of_class = {name: class_ious(getattr(total, name), score) for name in MATRICES}
    for number, name in enumerate(names):
        if any(name in ious for ious in of_class.values()):
            changed = share(total.changed[number], total.labels[number])
            ious = {column: of.get(name, np.nan) for column, of in of_class.items()}
            rows.append({"image_id": "", "class_name": name, "changed": changed, **ious})
    of_image: list[dict] = [
        {"image_id": image_id, "class_name": "", **means(one, score)} for image_id, one in counts.items()
    ]
    return rows + sorted(of_image, key=lambda row: -row["changed"])[:images]


def sum_counts(counts: list[Counts]) -> Counts:
    """Counts of many images; those against masks are sums over the images that have one."""

    def total(name: str) -> Any:  # None where no image has a mask
        parts = [part for one in counts if (part := getattr(one, name)) is not None]
        return sum(parts[1:], parts[0].copy()) if parts else None

    return Counts(*(total(name) for name in ("labels", "changed", *MATRICES)))


def means(counts: Counts, score: Score) -> dict[str, float]:
    """Share of changed pixels, and mIoUs, in percent; NaN where there is no mask."""
    values = {"changed": share(counts.changed.sum(), counts.labels.sum())}
    for name in MATRICES:
        matrix = getattr(counts, name)
        values[name] = np.nan if matrix is None else score(matrix)[0]["value"]
    return values


def class_ious(matrix: np.ndarray | None, score: Score) -> dict[str, float]:
    """IoU in percent of each class that occurs, by name; empty where there is no matrix."""
    rows = [] if matrix is None else score(matrix)
    return {row["class_name"]: row["value"] for row in rows if row["metric"] == "iou"}


def share(part: int, whole: int) -> float:
    """`part` of `whole` in percent; NaN where the whole is 0."""
    return 100 * part / whole if whole else np.nan
