"""Boundary IoU: the intersection over union of the pixels near the outlines of the classes.

B. Cheng, R. Girshick, P. Dollár, A. C. Berg, A. Kirillov: "Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation", CVPR 2021; definition and width as in its released code. The paper scores single objects. Here all pixels
of a class in an image are one object, and counts are summed over the whole data set, as for mIoU.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from maskmill.data.images import IGNORE

OUTSIDE = -1


def band_width(height: int, width: int, ratio: float = 0.02) -> int:
    """Width of the band inside an outline, pixels: a share of the image's diagonal, at least 1."""
    return max(1, round(ratio * float(np.hypot(height, width))))


def band(labels: np.ndarray, width: int) -> np.ndarray:
    """Pixels of `labels` [H, W] within `width` steps (8 neighbours) of another label or of the image's border: bool
    [H, W]."""
    window, labels = 2 * width + 1, labels.astype(np.int16)
    lowest = minimum_filter(labels, window, mode="constant", cval=OUTSIDE)
    return lowest != maximum_filter(labels, window, mode="constant", cval=OUTSIDE)


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, num_classes: int, ratio: float = 0.02) -> np.ndarray:
    """Count the pixels of one image in the bands; the counts of images are summed.

    Pixels whose truth is 255 do not count. Truth and prediction have the same outline towards them, so that a correct
    prediction scores 100. Predicted ids that are no class (254, 255) count as background, as in `confusion`.

    Args:
        truth, prediction: uint8 [H, W].
        ratio: see `band_width`.

    Returns:
        int64 [3, num_classes]: pixels in the band of the truth, in the band of the prediction, and in both bands under
        the same class.
    """
    prediction = np.where(prediction < num_classes, prediction, 0)
    prediction = np.where(truth == IGNORE, IGNORE, prediction)
    height, width = truth.shape
    radius = band_width(height, width, ratio)
    in_truth, in_prediction = (band(labels, radius) & (labels != IGNORE) for labels in (truth, prediction))
    both = in_truth & in_prediction & (truth == prediction)
    counted = truth[in_truth], prediction[in_prediction], truth[both]
    return np.stack([np.bincount(labels, minlength=num_classes) for labels in counted])


def boundary_scores(
    counts: np.ndarray, class_names: Sequence[str], averaged: Sequence[int] | None = None
) -> list[dict]:
    """Boundary IoU of summed `boundary_counts`, as rows with metric, class_name and value (percent): first the mean
    over the classes that occur in truth or prediction (empty class_name), then each of these classes.

    Args:
        counts: int64 [3, K].
        class_names: K names, in the order of the ids.
        averaged: class ids that rows and mean are restricted to; default: all.
    """
    truth, prediction, both = counts
    union = truth + prediction - both
    occurs = union > 0
    if averaged is not None:
        occurs &= np.isin(np.arange(len(union)), averaged)
    values = 100 * both / np.maximum(union, 1)
    mean = float(values[occurs].mean()) if occurs.any() else float("nan")
    rows = [("", mean), *((class_names[int(k)], float(values[k])) for k in np.flatnonzero(occurs))]
    return [{"metric": "boundary_iou", "class_name": name, "value": value} for name, value in rows]
