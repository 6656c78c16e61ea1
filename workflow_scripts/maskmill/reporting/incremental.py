"""Pictures of what a network forgets from step to step."""

from pathlib import Path

import numpy as np
import pandas as pd

from maskmill.reporting.style import PHOTO_DPI, plt, save


def draw_forgetting(rows: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw the IoU as one heat map per variant, with a column per class, in the order of learning, and a row per step.

    Args:
        rows: columns variant, step, class_name, learned_in (step) and iou (percent).
        path: PNG file to write.
    """
    classes = rows.sort_values("learned_in", kind="stable")["class_name"].unique()
    variants, steps = rows["variant"].unique(), sorted(rows["step"].unique())
    size = (0.42 * len(classes) + 2.5, (0.32 * len(steps) + 0.6) * len(variants) + 1.4)
    figure, axes = plt.subplots(len(variants), 1, figsize=size, squeeze=False, sharex=True, layout="constrained")
    for axis, variant in zip(axes.flat, variants, strict=True):
        table = rows[rows["variant"] == variant].pivot(index="step", columns="class_name", values="iou")
        values = table.reindex(index=steps, columns=classes).to_numpy()
        heat = axis.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
        for row, column in zip(*np.nonzero(~np.isnan(values)), strict=True):
            value = values[row, column]
            colour = "white" if value < 60 else "black"
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axis.set_yticks(range(len(steps)), steps)
        axis.set_ylabel(f"{variant}\nafter step", fontsize=8)
    axes.flat[-1].set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.colorbar(heat, ax=axes, label="IoU (%)")
    save(figure, path, PHOTO_DPI)
