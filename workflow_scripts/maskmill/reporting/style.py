"""What all charts share: colours that colour-blind readers can tell apart, resolution, and atomic files."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from maskmill.storage.atomic import atomic_path

# Okabe and Ito, Color Universal Design (2008).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
BASELINE = "#9A9A9A"
DPI = 150
PHOTO_DPI = 110  # of photographs and heat maps
LABEL_OPACITY = 0.7  # of labels over their image


def save(figure: plt.Figure, path: str | Path, dpi: int = DPI) -> None:
    """Write a figure as PNG, atomically, and close it."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png")
    plt.close(figure)


def headline(figure: plt.Figure, title: str) -> None:
    """Give a figure its title, in as many lines as its width requires."""
    figure.suptitle("\n".join(textwrap.wrap(title, int(13 * figure.get_figwidth()))), fontsize=10)


def tidy(axis: plt.Axes, grid: str = "y") -> None:
    """Give an axis small ticks, no frame above and to the right, and faint grid lines behind the data."""
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, color="0.9", linewidth=0.7)
    axis.set_axisbelow(True)
