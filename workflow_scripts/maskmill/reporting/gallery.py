"""Pictures of label maps beside their images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch

from maskmill.data.catalog import voc_palette
from maskmill.data.images import BIASED
from maskmill.reporting.overlay import overlay
from maskmill.reporting.style import LABEL_OPACITY, PHOTO_DPI, plt, save

COLUMNS = ("image", "truth", "CAM", "pseudo label", "after debiasing", "student's prediction")


@dataclass(frozen=True)
class Row:
    """One image and its labels.

    Attributes:
        image: uint8 [H, W, 3].
        truth, before, after, predicted: class ids uint8 [H, W]: the mask, the pseudo label before and after debiasing,
            and the student's prediction.
        cam: float [k, h, w] in 0..1, on any grid.
    """

    title: str
    image: np.ndarray
    truth: np.ndarray
    cam: np.ndarray
    before: np.ndarray
    after: np.ndarray
    predicted: np.ndarray


def draw_gallery(rows: Sequence[Row], path: str | Path, class_names: Sequence[str], title: str) -> None:
    """Draw one line of pictures per row; pixels that debiasing removed are white and hatched in their column.

    Args:
        path: PNG file to write.
        class_names: in the order of the class ids, for the legend.
    """
    figure, axes = plt.subplots(
        len(rows), len(COLUMNS), figsize=(2.2 * len(COLUMNS), 2.15 * len(rows) + 0.9), squeeze=False
    )
    seen: set[int] = set()
    for line, row in zip(axes, rows, strict=True):
        height, width = row.truth.shape
        extent = (0, width, height, 0)
        line[0].imshow(row.image)
        line[0].set_ylabel(row.title, fontsize=8)
        line[1].imshow(overlay(row.image, row.truth, LABEL_OPACITY))
        line[2].imshow(row.image, extent=extent)
        strongest = row.cam.max(axis=0) if len(row.cam) else np.zeros((1, 1))
        line[2].imshow(
            strongest.astype(float), extent=extent, cmap="inferno", alpha=0.65, vmin=0, vmax=1, interpolation="bilinear"
        )
        line[3].imshow(overlay(row.image, row.before, LABEL_OPACITY))
        line[4].imshow(overlay(row.image, row.after, LABEL_OPACITY))
        removed = row.after == BIASED
        if removed.any():
            line[4].contourf(removed, levels=[0.5, 1.5], colors="none", hatches=["////"])
        line[5].imshow(overlay(row.image, row.predicted, LABEL_OPACITY))
        for labels in (row.truth, row.before, row.predicted):
            seen |= set(np.unique(labels).tolist())
    for axis, name in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    palette = voc_palette() / 255
    entries = [Patch(color=palette[c], label=class_names[c]) for c in sorted(seen) if 0 < c < len(class_names)]
    entries.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="removed as biased"))
    figure.suptitle(title, fontsize=10)
    figure.legend(handles=entries, loc="lower center", ncols=8, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    save(figure, path, PHOTO_DPI)
