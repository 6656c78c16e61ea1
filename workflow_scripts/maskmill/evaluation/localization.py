"""Boxes from maps, and metrics of weakly supervised object localisation (WSOL), as in `WSOL/evaluator.py` of BAS'
extension.

Boxes are (x0, y0, x1, y1) in pixels. The maximum of a predicted box is exclusive, as in the release. The IoU
nevertheless includes both ends of all boxes (`inclusive`): the published numbers of BAS and of the benchmark rest on
that. "The benchmark" is J. Choe et al.: "Evaluating weakly supervised object localization methods right", CVPR 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

IOU_LEVELS = (0.3, 0.5, 0.7)  # of MaxBoxAccV2
GREY_LEVELS = 255  # the benchmark's thresholds 0, 0.001 .. 0.999 select that many different levels of a byte image
SCORE_EDGES = np.concatenate([np.arange(1000) / 1000, [1.0, 2.0, 3.0]])  # bins of PxAP


@dataclass(frozen=True)
class Protocol:
    """The differences between the two releases of BAS' evaluation.

    Attributes:
        epsilon: added to a map's range when it is normalised.
        truncated: whether true boxes are truncated to whole pixels within the crop; otherwise they stay fractions and
            are clipped at the crop's side.
        strict: whether an IoU of exactly 0.5 is too small.
        class_means: whether CUB's accuracies are means of the accuracies of the classes.
    """

    epsilon: float
    truncated: bool
    strict: bool
    class_means: bool


PROTOCOLS = {
    "ext": Protocol(epsilon=1e-5, truncated=True, strict=False, class_means=False),
    "cvpr": Protocol(epsilon=0.0, truncated=False, strict=True, class_means=True),
}


# --- from maps to boxes ---------------------------------------------------------------------------------------------


def normalise(scores: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    """Scale maps, float [..., h, w], to 0..1, each by its own minimum and maximum; a constant map becomes 0."""
    low, high = scores.min(axis=(-2, -1), keepdims=True), scores.max(axis=(-2, -1), keepdims=True)
    span = high - low + epsilon
    return (scores - low) / np.where(span > 0, span, 1)


def enlarge(scores: np.ndarray, side: int) -> np.ndarray:
    """Resize a map, float [h, w], to [side, side], bilinear between half-pixel centres."""
    return cv2.resize(scores, (side, side), interpolation=cv2.INTER_LINEAR)


def components(region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8-connected components of a region, bool [H, W], in the order of their first pixels, row by row.

    Returns:
        Boxes int [n, 4] with exclusive maxima, and sizes int [n] in pixels.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    left, top, width, height, sizes = stats[1:].T
    _, first = np.unique(labels[region], return_index=True)
    order = np.argsort(first)
    return np.stack([left, top, left + width, top + height], axis=1)[order], sizes[order]


def largest_box(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Box int [4] around the largest component of a map [H, W] above a threshold; of several equal ones, around the
    first. The whole map where no pixel is above the threshold."""
    region = scores > threshold
    if not region.any():
        return np.array([0, 0, region.shape[1], region.shape[0]])
    boxes, sizes = components(region)
    return boxes[sizes.argmax()]


def contour_boxes(grey: np.ndarray, level: int) -> np.ndarray:
    """Boxes int [n, 4] around all contours, holes included, of an image uint8 [H, W] above a grey level, as in the
    benchmark: maxima are clipped to the last pixel; where there is no contour, one empty box at the origin."""
    contours, _ = cv2.findContours((grey > level).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((1, 4), int)
    left, top, width, height = np.array([cv2.boundingRect(contour) for contour in contours]).T
    rows, columns = grey.shape
    ends = np.minimum(left + width, columns - 1), np.minimum(top + height, rows - 1)
    return np.stack([left, top, *ends], axis=1)


def iou(first: np.ndarray, second: np.ndarray, *, inclusive: bool = True) -> np.ndarray:
    """Intersection over union of every pair of boxes [n, 4] and [m, 4]: float64 [n, m] in 0..1.

    Args:
        inclusive: whether both ends of a side count, so that a side from 0 to 10 is 11 long; otherwise it is 10.
    """
    first, second = np.atleast_2d(first).astype(float)[:, None], np.atleast_2d(second).astype(float)[None]
    more = float(inclusive)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]) + more
    shared = sides.clip(0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2] + more).prod(axis=-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def boxes_in_crop(
    boxes: np.ndarray, size: tuple[int, int], resize: int, crop: int, *, truncated: bool = True
) -> np.ndarray:
    """True boxes [n, 4] of an image in the coordinates of the central crop that a network sees.

    Args:
        boxes: [n, 4], pixels of the image.
        size: the image's height and width, pixels.
        resize: side of the square that the image is resized to, pixels; the aspect is not kept.
        crop: side of the crop, pixels.
        truncated: see `Protocol`.

    Returns:
        int [n, 4] if truncated, else float64.
    """
    height, width = size
    margin = round((resize - crop) / 2)
    moved = np.asarray(boxes, float) * resize / np.array([width, height, width, height]) - margin
    return moved.clip(0, crop - 1).astype(int) if truncated else moved.clip(0, crop)


# --- accuracies -----------------------------------------------------------------------------------------------------


def threshold_ious(scores: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """IoU of `largest_box` with the true box that it fits best, at each threshold: float64 [len(thresholds)].

    Args:
        scores: map [H, W] in 0..1.
        truth: boxes [n, 4].
    """
    boxes = np.stack([largest_box(scores, threshold) for threshold in thresholds])
    return iou(boxes, truth).max(axis=1)


def contour_ious(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of the best pair of a contour's box and a true box, at each grey level: float64 [GREY_LEVELS].

    The scores are converted to bytes. Levels are shares of the map's maximum, which is 1 after `normalise`.

    Args:
        scores: map [H, W] in 0..1.
        truth: boxes [n, 4].
    """
    grey = (scores / max(scores.max(), 1e-12) * 255).astype(np.uint8)
    boxes = [contour_boxes(grey, level) for level in range(GREY_LEVELS)]
    best = iou(np.concatenate(boxes), truth).max(axis=1)
    return np.maximum.reduceat(best, np.cumsum([0, *map(len, boxes[:-1])]))


def hits(ious: np.ndarray, level: float = 0.5, *, strict: bool = False) -> np.ndarray:
    """Whether boxes localise their objects: bool, of the shape of `ious`.

    Args:
        level: smallest IoU that counts.
        strict: whether an IoU of exactly `level` is too small.
    """
    return ious > level if strict else ious >= level


def accuracy(right: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Percent of images that are localised, float64 [...].

    Args:
        right: bool [N, ...].
        classes: class ids int [N]; if given, the result is the mean of the classes' accuracies.
    """
    if classes is None:
        return 100 * right.mean(axis=0)
    return 100 * np.mean([right[classes == c].mean(axis=0) for c in np.unique(classes)], axis=0)


def ranks(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Number of classes that score higher than the true one: int [N], for scores [N, C] and classes int [N] in
    0..C-1."""
    return (scores > np.take_along_axis(scores, classes[:, None], axis=1)).sum(axis=1)


def best_setting(ious: np.ndarray, *, strict: bool = False, classes: np.ndarray | None = None) -> tuple[int, int]:
    """Positions (k, t) of the best top-k and threshold in ious [N, K, T]; of several equal ones, of the first.

    Args:
        strict, classes: see `hits` and `accuracy`.
    """
    known = accuracy(hits(ious, strict=strict), classes)
    k, t = np.unravel_index(known.argmax(), known.shape)
    return int(k), int(t)


def best_levels(ious: np.ndarray) -> list[int]:
    """The grey level with the most hits for each of `IOU_LEVELS`.

    Args:
        ious: `contour_ious` of all images, [N, GREY_LEVELS].
    """
    return [int(hits(ious, level).mean(axis=0).argmax()) for level in IOU_LEVELS]


def max_box_accuracy(ious: np.ndarray, levels: Sequence[int] | None = None) -> float:
    """MaxBoxAccV2 (percent): the mean over IoU 0.3, 0.5 and 0.7 of the accuracy at the best grey level for each.

    Args:
        ious: `contour_ious` of all images, [N, GREY_LEVELS].
        levels: grey levels that were chosen on other images; default: the best on these images, as in the benchmark.
    """
    levels = best_levels(ious) if levels is None else levels
    return float(np.mean([accuracy(hits(ious[:, at], level)) for level, at in zip(IOU_LEVELS, levels, strict=True)]))


def printed_box_accuracy(ious: np.ndarray) -> float:
    """The number (percent) that BAS' code prints as MaxBoxAccV2: the mean over IoU 0.3, 0.5 and 0.7 at one threshold,
    with the largest component only.

    Args:
        ious: [N], a column of `threshold_ious`.
    """
    return float(np.mean([accuracy(hits(ious, level)) for level in IOU_LEVELS]))


# --- pixels ---------------------------------------------------------------------------------------------------------


def score_histograms(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Histograms of a map's scores over object and background: int64 [2, 1002].

    Args:
        scores: map [H, W] in 0..1.
        mask: uint8 [H, W]: 1 object, 0 background, 255 ignore.
    """
    return np.stack([np.histogram(scores[mask == value], bins=SCORE_EDGES)[0] for value in (1, 0)])


def pixel_scores(histograms: np.ndarray) -> tuple[float, float]:
    """PxAP and pIoU (percent) of `score_histograms` summed over images, as in `count_pxap.py` of BAS' extension.

    PxAP is the sum of precision times the step in recall over falling thresholds. pIoU is the IoU of object pixels at
    the best threshold.
    """
    true, false = histograms[:, ::-1].cumsum(axis=1)
    predicted = true + false
    precision = np.divide(true, predicted, out=np.zeros(len(true)), where=predicted > 0)
    recall = true / true[-1]
    return 100 * float((precision[1:] * np.diff(recall)).sum()), 100 * float((true / (true[-1] + false)).max())
