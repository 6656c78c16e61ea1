"""CutMix: masks of boxes, and the image that each image is mixed with."""

import numpy as np


def cutmix_masks(
    count: int,
    size: tuple[int, int],
    rng: np.random.Generator | np.random.RandomState,
    *,
    boxes: int = 3,
    proportion: tuple[float, float] = (0.25, 0.5),
) -> np.ndarray:
    """m, bool [count, H, W]: boxes of random place and aspect; where two overlap they cancel.

    A box has 1/boxes of an area p ~ U(proportion), its height is p^u of the image's (u ~ U(0, 1)) before that scaling.
    """
    areas = rng.uniform(*proportion, size=(count, boxes))
    heights = areas ** rng.uniform(0, 1, size=(count, boxes))
    sides = np.round(np.stack([heights, areas / heights], axis=-1) * np.sqrt(1 / boxes) * size)
    starts = np.round((size - sides) * rng.uniform(0, 1, size=sides.shape))
    masks = np.zeros((count, *size), bool)
    for mask, corners, extents in zip(masks, starts.astype(int), sides.astype(int), strict=True):
        for (top, left), (height, width) in zip(corners, extents, strict=True):
            mask[top : top + height, left : left + width] ^= True
    return masks


def partner(index: int, count: int, rng: np.random.Generator, *, pairing: str = "same") -> int:
    """Index of the image x_1 that CutMix lays over image `index` of `count`.

    Args:
        pairing: `same` mixes two crops of one image, as the released loaders do, which walk one order twice;
            `independent` draws any image.
    """
    if pairing not in ("same", "independent"):
        raise ValueError(f"pairing is {pairing!r}; choose one of same, independent")
    return index if pairing == "same" else int(rng.integers(count))
