"""Pictures of boxes on their images, and of the activation and the cross entropy as a mask grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from maskmill.reporting.style import PHOTO_DPI, plt, save

TRUE, PREDICTED = "lime", "red"


@dataclass(frozen=True)
class BoxRow:
    """One image with its boxes; all are in the same pixels.

    Attributes:
        image: uint8 [H, W, 3].
        truth: true boxes [n, 4].
        maps: activations [H, W] in 0..1, by method.
        boxes: predicted boxes [4], by method.
    """

    title: str
    image: np.ndarray
    truth: np.ndarray
    maps: Mapping[str, np.ndarray]
    boxes: Mapping[str, np.ndarray]


def draw_boxes(rows: Sequence[BoxRow], curve: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw one line of pictures per row, with true boxes in green and predicted ones in red, and a curve below them.

    Args:
        curve: columns share (area of the mask / area of the object), cross_entropy, and activation (share of that of
            the whole image).
        path: PNG file to write.
    """
    methods = list(rows[0].maps)
    columns = 1 + len(methods)
    figure = plt.figure(figsize=(2.4 * columns, 2.3 * len(rows) + 4))
    grid = figure.add_gridspec(len(rows) + 1, columns, height_ratios=[1] * len(rows) + [1.3])
    for line, row in enumerate(rows):
        for column, method in enumerate([None, *methods]):
            axis = figure.add_subplot(grid[line, column])
            axis.imshow(row.image)
            if method:
                axis.imshow(row.maps[method], cmap="inferno", alpha=0.6, vmin=0, vmax=1)
                _outline(axis, row.boxes[method], PREDICTED)
            for box in row.truth:
                _outline(axis, box, TRUE)
            axis.set_xticks([])
            axis.set_yticks([])
            if line == 0:
                axis.set_title(method or "image", fontsize=9)
            if column == 0:
                axis.set_ylabel(row.title, fontsize=8)
    _draw_curve(figure.add_subplot(grid[len(rows), :]), curve)
    inch = 1 / figure.get_figheight()
    figure.suptitle(title, fontsize=10, y=1 - 0.1 * inch, va="top")
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 * inch))
    save(figure, path, PHOTO_DPI)


def _outline(axis: plt.Axes, box: np.ndarray, colour: str) -> None:
    x0, y0, x1, y1 = box
    axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.6))


def _draw_curve(axis: plt.Axes, curve: pd.DataFrame) -> None:
    axis.plot(curve["share"], curve["cross_entropy"], color="tab:blue")
    axis.set_xlabel("area of what is seen, around the object's middle (object = 1)", fontsize=8)
    axis.set_ylabel("cross entropy", color="tab:blue", fontsize=8)
    axis.axvline(1, color="grey", linewidth=0.8, linestyle="--")
    other = axis.twinx()
    other.plot(curve["share"], curve["activation"], color="tab:orange")
    other.set_ylabel("activation (whole image = 1)", color="tab:orange", fontsize=8)
