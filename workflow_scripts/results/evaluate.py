"""Score labels against the truth.

Labels at a smaller working size are enlarged to the size of the mask by nearest neighbour; the truth is never resized.

In: index, id list, labels.
Out: scores and confusion matrix.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from maskmill.data.catalog import averaged_ids, find_dataset
from maskmill.data.images import IGNORE, read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.evaluation.boundary import boundary_counts, boundary_scores
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.progress import progress
from maskmill.refinement.resize import resize_labels
from maskmill.storage.atomic import atomic_path
from maskmill.storage.maps import open_maps
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    maps: str,
    scores_table: str,
    confusion_table: str,
    classes: list[str] | None = None,
    counted: str = "occurring",
    background: bool = True,
    boundary: bool = False,
    foreground: list[str] = (),
    left_out: list[str] = (),
) -> None:
    """Score one map store.

    Args:
        ids: text file with the ids of the images to score, which have masks, one per line.
        maps: map store of labels.
        scores_table: CSV to write, with columns metric, class_name and value (percent).
        confusion_table: CSV to write: pixel counts, rows truth, columns prediction.
        background: whether pixels of class 0 count, and the background in the means; false for ADE20K's usual protocol.
        boundary: whether the boundary IoU is measured too.
        foreground: map store of labels without background, whose mIoU over pixels of the counted classes becomes
            `miou_foreground`; none: not measured.
        left_out: names of classes whose own mean becomes `miou_left_out`.
    """
    about = find_dataset(dataset, index)
    names, num_classes = about.classes, about.num_classes
    records, store = read_index(index), open_maps(maps)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    near_outlines = np.zeros((3, num_classes), np.int64)
    for image_id in progress(read_ids(ids), "evaluate"):
        truth = read_mask(records[image_id].mask, num_classes)
        if not background:
            truth[truth == 0] = IGNORE
        labels = resize_labels(store[image_id], truth.shape)
        matrix += confusion(truth, labels, num_classes)
        if boundary:
            near_outlines += boundary_counts(truth, labels, num_classes)
    if about.has_background and not matrix[1:].any():
        logging.warning("warning: no mask shows a class in the images of %s: the score is of background alone", ids)
    averaged = averaged_ids(about, classes)
    things = [i for i in averaged or range(num_classes) if i]
    if not background:
        averaged = things
    rows = scores(matrix, names, averaged, counted=counted, has_background=about.has_background)
    if boundary:
        rows += boundary_scores(near_outlines, names, averaged)
    if left_out:
        ious = [row["value"] for row in rows if row["metric"] == "iou" and row["class_name"] in left_out]
        rows.append({"metric": "miou_left_out", "class_name": "", "value": np.mean(ious)})
    for path in foreground:
        value = foreground_miou(records, ids, path, names, things)
        rows.append({"metric": "miou_foreground", "class_name": "", "value": value})
    table = pd.DataFrame(rows)
    with atomic_path(confusion_table) as path:
        pd.DataFrame(matrix, index=pd.Index(names, name="truth"), columns=names).to_csv(path)
    with atomic_path(scores_table) as path:
        table.to_csv(path, index=False)
    logging.info("%s: mIoU %.1f", maps, table["value"].iloc[0])


def foreground_miou(records: dict, ids: str, maps: str, names: Sequence[str], things: Sequence[int]) -> float:
    """Mean IoU in percent over `things`, class ids without background, on the pixels whose truth is one of them."""
    store, matrix = open_maps(maps), np.zeros((len(names), len(names)), np.int64)
    for image_id in read_ids(ids):
        truth = read_mask(records[image_id].mask, len(names))
        truth[~np.isin(truth, things)] = IGNORE
        matrix += confusion(truth, resize_labels(store[image_id], truth.shape), len(names))
    return scores(matrix, names, things)[0]["value"]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
