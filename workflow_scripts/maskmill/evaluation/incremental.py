"""Scores of networks that learn classes step by step: old and new classes, forgetting, quality of pseudo labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maskmill.data.images import IGNORE
from maskmill.data.incremental import Steps, channel_classes
from maskmill.evaluation.segmentation import scores


def known_truth(truth: np.ndarray, steps: Steps) -> np.ndarray:
    """The truth, uint8 [H, W] of class ids, with 255 where it shows a class of no step: such pixels do not count, as in
    the released evaluation after each step."""
    table = np.full(256, IGNORE, np.uint8)
    table[channel_classes(steps)] = channel_classes(steps)
    return table[truth]


def step_scores(
    matrix: np.ndarray, class_names: Sequence[str], steps: Steps, *, counted: str = "occurring"
) -> list[dict]:
    """Rows with metric, class_name and value (percent) of a network that has learned `steps`.

    miou over all their classes; miou_old over step 0's and background, miou_new over the others', if any counts; iou of
    each class.

    Args:
        matrix: see `confusion`, of class ids.
        counted: see `scores`.
    """

    def rows(classes: Sequence[int]) -> list[dict]:
        return scores(matrix, class_names, classes, counted=counted)

    learned, old = channel_classes(steps), channel_classes(steps[:1])
    groups = {"miou": learned, "miou_old": old, "miou_new": learned[len(old) :]}
    means = [{"metric": name, "class_name": "", "value": rows(classes)[0]["value"]} for name, classes in groups.items()]
    means = [row for row in means if not np.isnan(row["value"])]
    return means + [row for row in rows(learned) if row["metric"] == "iou"]


def forgetting_table(tables: Sequence[pd.DataFrame], class_names: Sequence[str], steps: Steps) -> pd.DataFrame:
    """IoU of each class after each step: columns step, class_name, learned_in, iou (percent).

    Args:
        tables: scores after each step (`step_scores`).
    """
    learned_in = {class_names[c]: step for step, classes in enumerate(steps) for c in classes}
    parts = [table[table["metric"] == "iou"].assign(step=step) for step, table in enumerate(tables)]
    rows = pd.concat(parts, ignore_index=True).rename(columns={"value": "iou"})
    rows["learned_in"] = rows["class_name"].map(learned_in).fillna(0).astype(int)  # background: from the start
    return rows[["step", "class_name", "learned_in", "iou"]]


class PseudoLabelQuality:
    """How right the labels are that a network gives to the background of the next step's images, over all pixels.

    Precision: percent of the pseudo-labelled pixels that show the class they were given. Recall: percent of the pixels
    of earlier classes that were given their class. 255 in the truth does not count.
    """

    def __init__(self):
        self.right = self.given = self.there = 0

    def add(self, targets: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> None:
        """Of one image, in channels, [H, W]: `labels` of the step's own classes, `targets` with pseudo labels too,
        `truth` of the classes of all steps so far."""
        old = (labels == 0) & (truth != IGNORE)
        given = old & (targets != 0)
        self.given += int(given.sum())
        self.right += int((given & (targets == truth)).sum())
        self.there += int((old & (truth != 0)).sum())

    @property
    def precision(self) -> float:
        return 100 * self.right / self.given if self.given else float("nan")

    @property
    def recall(self) -> float:
        return 100 * self.right / self.there if self.there else float("nan")
