"""Probabilities and labels of a network's score maps, without torch."""

import numpy as np

from maskmill.errors import InputError
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.refinement.resize import resize_planes


def probabilities_of(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Softmax of score maps float [C, h, w] after bilinear resizing to `size` (H, W): float32 [C, H, W]."""
    scores = resize_planes(np.asarray(logits, np.float32), size)
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    return scores / scores.sum(axis=0)


def unary_of(logits: np.ndarray, size: tuple[int, int], source: str) -> np.ndarray:
    """Unary energies float32 [C, H*W] of the softmax of score maps [C, h, w], for `dense_crf`.

    Args:
        size: height and width of the image.
        source: name of the score maps, for error messages.

    Raises:
        InputError: see `check_scores`.
    """
    check_scores(logits, size, source)
    return probability_unary(probabilities_of(logits, size))


def crf_labels(image: np.ndarray, unary: np.ndarray, crf: dict) -> np.ndarray:
    """Labels of the dense CRF, uint8 [H, W].

    Args:
        image: uint8 [H, W, 3].
        unary: result of `unary_of`.
        crf: settings of `dense_crf`.
    """
    return dense_crf(image, unary, **crf).argmax(axis=0).astype(np.uint8)


def check_scores(logits: np.ndarray, size: tuple[int, int], source: str) -> None:
    """Refuse score maps [C, h, w] that are not finite or cannot belong to an image of `size`.

    A single stride must explain both sides of the grid, with a tolerance of one cell.

    Raises:
        InputError: the scores are not finite, or their grid does not fit the image; the message names `source`.
    """
    broken = np.count_nonzero(~np.isfinite(logits))
    if broken:
        raise InputError(f"{source}: {broken} scores are not finite; train again with a lower learning rate")
    sides = list(zip(size, logits.shape[1:], strict=True))
    smallest = max(pixels / (cells + 1) for pixels, cells in sides)
    largest = min(pixels / max(cells - 1, 0.5) for pixels, cells in sides)
    if smallest > largest:
        (height, h), (width, w) = sides
        raise InputError(
            f"{source}: score maps of {h}x{w} cannot belong to an image of {height}x{width}; "
            "images or data.<dataset>.short_side changed since: delete the store and run again"
        )
