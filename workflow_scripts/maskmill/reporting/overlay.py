"""Labels in colour over their image, as arrays: for notebooks and for the pictures of the report.

This module does not import matplotlib's pyplot: the report selects a backend without windows, which would switch off
the display of a notebook.
"""

import numpy as np

from maskmill.data.catalog import VOC, Dataset, colours_of, voc_palette
from maskmill.data.images import BIASED


def palette() -> np.ndarray:
    """VOC's colours, uint8 [256, 3] RGB: row k is the colour of class id k."""
    return voc_palette()


def label_colours(dataset: Dataset) -> np.ndarray:
    """Colours of all ids that a label map may hold, uint8 [256, 3] RGB: the data set's own for its classes, white for
    254 (removed as biased), VOC's for the rest."""
    colours = voc_palette()
    colours[: dataset.num_classes] = colours_of(dataset)
    colours[BIASED] = 255
    return colours


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.6, *, dataset: Dataset = VOC) -> np.ndarray:
    """Paint labels over their image: uint8 [H, W, 3] RGB.

    Background, where the data set has one, shows the image as it is.

    Args:
        image: uint8 [H, W, 3] RGB.
        labels: class ids, uint8 [H, W]; 254 (removed as biased) is white, 255 (ignore) is VOC's cream.
        opacity: of the colours, 0..1.
        dataset: whose colours and background to use, an entry of `maskmill.data.catalog.DATASETS`.

    Raises:
        ValueError: image and labels differ in height or width, or the opacity is out of range.
    """
    return painted(image, labels, label_colours(dataset), opacity, background=dataset.has_background)


def painted(
    image: np.ndarray, labels: np.ndarray, colours: np.ndarray, opacity: float, *, background: bool
) -> np.ndarray:
    """`overlay` in any colours: uint8 [K, 3] RGB, row k for class id k. With `background`, class 0 shows the image."""
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"image of {image.shape[:2]} pixels, labels of {labels.shape} (height, width); read the image at the "
            "labels' size, e.g. read_image(path, short_side)"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}; choose a number in 0..1")
    transparency = round(1 - opacity, 6)  # 0.3 for 0.7, which 1 - 0.7 is not quite
    mixed = (transparency * image + (opacity * colours)[labels]).astype(np.uint8)
    return np.where((labels > 0)[..., None], mixed, image) if background else mixed
