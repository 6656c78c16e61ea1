"""Confusion matrices and the scores computed from them."""

from collections.abc import Sequence

import numpy as np

from maskmill.data.images import IGNORE


def confusion(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Confusion matrix of one image: int64 [num_classes, num_classes] of pixel counts, rows truth, columns prediction.

    Pixels whose truth is 255 do not count. Predicted 255 (ignore) and 254 (biased) count as background, as in the
    official evaluations of pseudo labels.

    Args:
        truth, prediction: class ids, uint8 [H, W].
    """
    truth, prediction, lengths = _runs(truth.ravel(), prediction.ravel())
    valid = truth != IGNORE
    predicted = np.where(prediction[valid] < num_classes, prediction[valid], 0)
    pairs = truth[valid].astype(np.int64) * num_classes + predicted
    counts = np.bincount(pairs, None if lengths is None else lengths[valid], minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def _runs(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Values of truth and prediction in each run of equal pixels, and the lengths of the runs, of which maps have few.

    For noise, which has many, the pixels are returned as they are, without lengths.
    """
    changes = (truth[1:] != truth[:-1]) | (prediction[1:] != prediction[:-1])
    if np.count_nonzero(changes) > len(truth) / 4:
        return truth, prediction, None
    starts = np.concatenate([np.zeros(min(len(truth), 1), np.int64), np.flatnonzero(changes) + 1])
    return truth[starts], prediction[starts], np.diff(starts, append=len(truth))


def scores(
    matrix: np.ndarray,
    class_names: Sequence[str],
    averaged: Sequence[int] | None = None,
    *,
    counted: str = "occurring",
    has_background: bool = True,
) -> list[dict]:
    """Scores of a confusion matrix, as rows with metric, class_name and value (percent).

    Per class: iou = TP/(P + T - TP), fp = (P - TP)/union, fn = (T - TP)/union, so that the three add up to 100.
    Aggregates (empty class_name): miou over the counted classes; fp and fn over the foreground classes among them,
    which agrees with MARS, Table 6.

    Args:
        matrix: int64 [K, K], see `confusion`.
        class_names: K names, in the order of the ids.
        averaged: class ids that rows and aggregates are restricted to, for subsets of a data set; default: all.
        counted: classes that count: `occurring` in truth or prediction; `truth`, only those in the truth, so that
            predicting an absent class goes unpunished (evaluation code of public DeepLab v2 and FCN); `all`, where a
            class that does not occur has IoU 0 (evaluation code of BARM and PIDNet).
        has_background: whether class 0 is the background, which the aggregates of fp and fn leave out.

    Raises:
        ValueError: another value of `counted`.
    """
    true_positive = np.diag(matrix).astype(float)
    predicted, truth = matrix.sum(axis=0), matrix.sum(axis=1)
    union = predicted + truth - true_positive
    rules = {"occurring": union > 0, "truth": truth > 0, "all": np.ones(len(matrix), bool)}
    if counted not in rules:
        raise ValueError(f"counted is {counted!r}; choose one of {', '.join(rules)}")
    occurs, union = rules[counted], np.maximum(union, 1)
    if averaged is not None:
        occurs &= np.isin(np.arange(len(matrix)), averaged)
    per_class = {
        "iou": 100 * true_positive / union,
        "fp": 100 * (predicted - true_positive) / union,
        "fn": 100 * (truth - true_positive) / union,
    }
    foreground = occurs.copy()
    foreground[0] &= not has_background
    rows = [{"metric": "miou", "class_name": "", "value": _mean(per_class["iou"], occurs)}]
    rows += [{"metric": m, "class_name": "", "value": _mean(per_class[m], foreground)} for m in ("fp", "fn")]
    for metric, values in per_class.items():
        rows += [
            {"metric": metric, "class_name": name, "value": float(value)}
            for name, value, counts in zip(class_names, values, occurs, strict=True)
            if counts
        ]
    return rows


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


class SeedCurve:
    """mIoU of class activation maps at every background threshold, from one pass over the images.

    A pixel's label is its strongest class if that class's score exceeds the threshold, else background; so counts of
    (truth, strongest class, score bin) hold the confusion matrices of all thresholds.

    Args:
        num_classes: with background.
        thresholds: in 0..1, rising, evenly spaced or not.
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float]):
        self.num_classes, self.thresholds = num_classes, np.asarray(thresholds)
        self.counts = np.zeros((num_classes, num_classes, len(thresholds) + 1), np.int64)

    def add(self, truth: np.ndarray, cam: np.ndarray, classes: np.ndarray) -> None:
        """Count the pixels of one image.

        Args:
            truth: class ids, uint8 [H, W].
            cam: float [k, H, W] in 0..1.
            classes: the k class ids of the planes.
        """
        valid = truth != IGNORE
        if len(classes):
            best = cam.argmax(axis=0)
            winner = np.asarray(classes)[best][valid]
            score = np.searchsorted(self.thresholds, cam.max(axis=0)[valid], side="left")
        else:
            winner, score = np.zeros(valid.sum(), int), np.zeros(valid.sum(), int)
        np.add.at(self.counts, (truth[valid], winner, score), 1)

    def matrix(self, number: int) -> np.ndarray:
        """Confusion matrix at `thresholds[number]`, see `confusion`."""
        kept = self.counts[:, :, number + 1 :].sum(axis=2)
        kept[:, 0] += self.counts[:, :, : number + 1].sum(axis=(1, 2))
        return kept

    def miou(self, averaged: Sequence[int] | None = None) -> np.ndarray:
        """mIoU in percent at each threshold, float64 [T]; `averaged` as in `scores`."""
        names = [""] * self.num_classes
        return np.array([scores(self.matrix(i), names, averaged)[0]["value"] for i in range(len(self.thresholds))])
