"""IRN's random walk, which spreads class scores up to the class boundaries (Ahn et al., CVPR 2019)."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.sparse import dia_array

from maskmill.refinement.paths import paths

UPSAMPLING = 4  # from the stride-4 grid to pixels
NEGLIGIBLE = 1e-30  # smaller transitions turn scores into denormal numbers, which only slow the products down


def affinity(edge: np.ndarray, radius: int) -> dia_array:
    """Affinity of all pixel pairs closer than `radius`: 1 - the strongest boundary on the path between them.

    Args:
        edge: class boundary probability, floating [H, W], 0..1.
        radius: in cells of the grid (IRN: 5).

    Returns:
        Symmetric sparse [H*W, H*W] in the dtype of `edge`, 1 on the diagonal. It stores one dense diagonal per offset,
        so that products are several times faster than with the column indices of each row.
    """
    height, width = edge.shape
    diagonals = {0: np.ones_like(edge)}
    for (dy, dx), cells in paths(radius):
        rows, columns = height - dy, width - abs(dx)
        if rows <= 0 or columns <= 0:
            continue
        left = max(0, -dx)
        at = [np.s_[y : y + rows, left + x : left + x + columns] for y, x in cells]
        pair = 1 - np.max([edge[cell] for cell in at], axis=0)
        step = dy * width + dx
        # A diagonal array keeps entry (i, j) at position j, which is the pair's destination and then its source.
        for diagonal, column in ((step, at[0]), (-step, at[-1])):
            diagonals.setdefault(diagonal, np.zeros_like(edge))[column] += pair
    data = np.stack([values.ravel() for values in diagonals.values()])
    return dia_array((data, list(diagonals)), shape=(edge.size, edge.size))


def transition(affinity: dia_array, beta: float) -> dia_array:
    """Transition matrix T: A^beta, element by element, divided by its column sums (IRN: beta = 10)."""
    powered = affinity.data**beta
    # float64, because an error of 1e-6 in a column's sum would grow past 1e-4 over 256 steps.
    share = (powered / powered.sum(axis=0, dtype=np.float64)).astype(powered.dtype)
    share[share < NEGLIGIBLE] = 0
    return dia_array((share, affinity.offsets), shape=affinity.shape)


def random_walk(cam: np.ndarray, edge: np.ndarray, *, radius: int, beta: float, exp_times: int) -> np.ndarray:
    """2^exp_times steps from the scores outside of the boundaries: vec(cam * (1 - edge)) T^(2^exp_times).

    Each step replaces a score by an average over its neighbourhood, since the columns of T sum to 1. The authors
    square the dense T exp_times times; 2^exp_times products with the sparse T give the same result.

    Args:
        cam: scores per class, float [K, H, W].
        edge: class boundary probability on the same grid, [H, W], 0..1.
        radius, beta: see `affinity` and `transition`.
        exp_times: IRN: 8, that is 256 steps.

    Returns:
        [K, H, W], float64 if `cam` is float64, else float32; the walk is computed in the same precision.
    """
    cam = cam.astype(np.result_type(cam, np.float32))
    edge = edge.astype(cam.dtype)
    step = transition(affinity(edge, radius), beta).T
    walked = [scores.ravel() for scores in cam * (1 - edge)]
    for _ in range(2**exp_times):
        walked = [step @ scores for scores in walked]
    return np.array(walked, cam.dtype).reshape(cam.shape)


def walk_scores(walked: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Upsample scores [K, h, w] 4 times (bilinear, half-pixel centres), crop to `size`, scale to 0..1.

    A single maximum, over all classes and pixels, divides all classes, so that a weak class stays weak.

    Returns:
        [K, H, W] in the dtype of the scores.
    """
    height, width = size
    grid = (UPSAMPLING * walked.shape[2], UPSAMPLING * walked.shape[1])
    scores = np.zeros((len(walked), height, width), walked.dtype)
    for plane, small in zip(scores, walked, strict=True):
        plane[:] = cv2.resize(small, grid, interpolation=cv2.INTER_LINEAR)[:height, :width]
    return scores / (scores.max(initial=0) or 1)


def walk_labels(walked: np.ndarray, classes: Sequence[int], size: tuple[int, int], background: float) -> np.ndarray:
    """Pseudo labels from the scores after the walk: the strongest class, or background where none exceeds `background`.

    Args:
        walked: result of `random_walk`, float [K, h, w] on the stride-4 grid, one plane per class of the image.
        classes: mask ids of the planes, 1..C.
        size: height and width of the image in pixels, at most four times the grid.
        background: constant score of the background plane (IRN 0.25, BAS 0.22).

    Returns:
        uint8 [H, W]: 0 = background, or an id of `classes`.
    """
    scores = walk_scores(walked, size)
    planes = np.concatenate([np.full((1, *size), background, scores.dtype), scores])
    return np.array([0, *classes], np.uint8)[planes.argmax(0)]
