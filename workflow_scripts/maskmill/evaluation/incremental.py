"""Scores of networks that learn classes step by step: old and new classes, forgetting, quality of pseudo labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from maskmill.data.images import IGNORE
from maskmill.data.incremental import Steps, channel_classes
from maskmill.evaluation.segmentation import scores


def known_truth(truth: np.ndarray, steps: Steps) -> np.ndarray:
    """The truth, uint8 [H, W] of class ids, with 255 for classes of no step: such pixels do not count, as in the
    evaluation that BARM's release runs after each step."""
    table = np.full(256, IGNORE, np.uint8)
    table[channel_classes(steps)] = channel_classes(steps)
    return table[truth]


def step_scores(
    matrix: np.ndarray, class_names: Sequence[str], steps: Steps, *, counted: str = "occurring"
) -> list[dict]:
    """Scores of a network that has learned `steps`, as rows with metric, class_name and value (percent).

    `miou` is the mean over all learned classes, `miou_old` over background and those of step 0, `miou_new` over those
    of the later steps (left out where none counts), `iou` is of one class.

    Args:
        matrix: of class ids, see `confusion`.
        class_names: in the order of the class ids.
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
        tables: scores after each step (`step_scores`), in the order of the steps.
    """
    learned_in = {class_names[c]: step for step, classes in enumerate(steps) for c in classes}
    parts = [table[table["metric"] == "iou"].assign(step=step) for step, table in enumerate(tables)]
    rows = pd.concat(parts, ignore_index=True).rename(columns={"value": "iou"})
    rows["learned_in"] = rows["class_name"].map(learned_in).fillna(0).astype(int)  # background: from the start
    return rows[["step", "class_name", "learned_in", "iou"]]


class PseudoLabelQuality:
    """Precision and recall of the pseudo labels that a network puts on the background of the next step's images.

    Both are over the pixels of all images. Pixels whose truth is 255 do not count.
    """

    def __init__(self) -> None:
        self.correct = self.labelled = self.positive = 0  # pixels

    def add(self, targets: np.ndarray, labels: np.ndarray, truth: np.ndarray) -> None:
        """Count the pixels of one image; all arguments are uint8 [H, W] of channels.

        Args:
            targets: labels of the step's own classes and pseudo labels.
            labels: labels of the step's own classes alone.
            truth: classes of all steps so far.
        """
        old = (labels == 0) & (truth != IGNORE)
        labelled = old & (targets != 0)
        self.labelled += int(labelled.sum())
        self.correct += int((labelled & (targets == truth)).sum())
        self.positive += int((old & (truth != 0)).sum())

    @property
    def precision(self) -> float:
        """Percent of the pseudo-labelled pixels whose pseudo label is their class; NaN where there are none."""
        return 100 * self.correct / self.labelled if self.labelled else float("nan")

    @property
    def recall(self) -> float:
        """Percent of the pixels of earlier classes whose pseudo label is their class; NaN where there are none."""
        return 100 * self.correct / self.positive if self.positive else float("nan")
