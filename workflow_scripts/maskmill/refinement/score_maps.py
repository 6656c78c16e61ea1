"""From a network's score maps to labels, without torch."""

import numpy as np

from maskmill.errors import InputError
from maskmill.refinement.dense_crf import dense_crf, probability_unary
from maskmill.refinement.resize import resize_planes


def probabilities_of(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Softmax of score maps float [C, h, w], enlarged bilinearly before it; float32 [C, H, W]."""
    scores = resize_planes(np.asarray(logits, np.float32), size)
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    return scores / scores.sum(axis=0)


def unary_of(logits: np.ndarray, size: tuple[int, int], source: str) -> np.ndarray:
    """Unary energies float32 [C, H*W] of the softmax of score maps [C, h, w], for `dense_crf`.

    Args:
        source: what the score maps are, for errors.

    Raises:
        InputError: score maps that are not finite, or of another shape than an image of `size`.
    """
    check_scores(logits, size, source)
    return probability_unary(probabilities_of(logits, size))


def crf_labels(image: np.ndarray, unary: np.ndarray, crf: dict) -> np.ndarray:
    """Labels uint8 [H, W] of the dense CRF with the settings `crf` on an image uint8 [H, W, 3] and `unary_of` it."""
    return dense_crf(image, unary, **crf).argmax(axis=0).astype(np.uint8)


def check_scores(logits: np.ndarray, size: tuple[int, int], source: str) -> None:
    """Refuse score maps [C, h, w] that are not finite or cannot belong to an image of `size`.

    One stride must explain both sides of the grid, give or take one cell.

    Raises:
        InputError: names `source` and what is wrong.
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
