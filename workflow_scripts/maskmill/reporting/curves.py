"""Curves: losses of trainings, scores over thresholds, and the results of a search for settings."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter

from maskmill.reporting.style import COLOURS, headline, plt, save, tidy

COLUMNS = 4


def read_losses(checkpoint: str | Path) -> pd.DataFrame:
    """The losses of the training that wrote `checkpoint`: index `step` (iteration, from 1), one column per loss.

    They come from all points of the TensorBoard log beside the checkpoint. Of iterations that a training repeated after
    it was resumed, only the last values count. Empty if there is no log.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow: only where needed

    path = Path(checkpoint)
    log = path.parent / "tensorboard" / path.stem
    if not log.is_dir():
        return pd.DataFrame()
    events = EventAccumulator(str(log), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("loss/")]
    losses = {
        tag.removeprefix("loss/"): pd.Series({event.step: event.value for event in events.Scalars(tag)}) for tag in tags
    }
    return pd.DataFrame(losses).rename_axis("step")


def draw_losses(trainings: Mapping[str, pd.DataFrame], path: str | Path, title: str) -> None:
    """Draw the losses of each training on an axis of its own: the values in a pale colour, and the running mean over a
    twentieth of the points.

    An axis is logarithmic where all losses are positive and their range exceeds a factor of 5.

    Args:
        trainings: results of `read_losses`, by title.
        path: PNG file to write.
    """
    columns = min(COLUMNS, len(trainings))
    lines = -(-len(trainings) // columns)
    size = (max(3.1 * columns, 4.5), 2.8 * lines + 0.5)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, (name, losses) in zip(axes.flat, trainings.items(), strict=False):
        axis.set_title(name, fontsize=8)
        if losses.empty:
            axis.text(0.5, 0.5, "no TensorBoard log", ha="center", va="center", fontsize=8, transform=axis.transAxes)
            axis.set_axis_off()
            continue
        mean = losses.rolling(max(len(losses) // 20, 1), center=True, min_periods=1).mean()
        marker = "." if len(losses) == 1 else None
        for loss, colour in zip(losses, COLOURS * len(losses.columns), strict=False):
            axis.plot(losses.index, losses[loss], color=colour, linewidth=0.5, alpha=0.35)
            axis.plot(mean.index, mean[loss], color=colour, linewidth=1.4, marker=marker, label=loss)
        least, most = losses.min(axis=None), losses.max(axis=None)
        if least > 0 and most > 5 * least:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < 300 * least else (1,)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        axis.set_xlabel("iteration", fontsize=8)
        tidy(axis)
    for axis in axes.flat[len(trainings) :]:
        axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("loss", fontsize=8)
    headline(figure, title)
    save(figure, path)


def best_of(curve: pd.DataFrame) -> pd.DataFrame:
    """The best score at each threshold: columns split (where there is one), threshold and the score.

    Args:
        curve: columns threshold, optionally split and, last, a score. Of several rows with the same threshold and
            split, e.g. for several top-k, the best counts.
    """
    keys = [key for key in ("split", "threshold") if key in curve]
    return curve.groupby(keys, sort=False)[curve.columns[-1]].max().reset_index()


def draw_thresholds(curves: Mapping[str, pd.DataFrame], path: str | Path, title: str, score: str = "mIoU (%)") -> None:
    """Draw scores over thresholds: one line per curve, one axis per split. A dot marks the best point of each line, and
    the legend states it.

    Args:
        curves: as for `best_of`, by name.
        path: PNG file to write.
        score: label of the vertical axis.
    """
    best = {name: best_of(curve) for name, curve in curves.items()}
    splits = list(dict.fromkeys(split for curve in best.values() for split in _splits(curve)))
    size = (4.2 * len(splits) + 1.2, 3.4)
    figure, axes = plt.subplots(1, len(splits), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis, split in zip(axes.flat, splits, strict=True):
        for (name, curve), colour in zip(best.items(), COLOURS, strict=False):
            line = _splits(curve)[split]
            value = line.columns[-1]
            top = line.loc[line[value].idxmax()]
            label = f"{name}: {top[value]:.1f} at {top['threshold']:.2f}"
            axis.plot(line["threshold"], line[value], color=colour, linewidth=1.6, label=label)
            axis.plot(top["threshold"], top[value], "o", color=colour, markersize=5)
        if split:
            axis.set_title(split, fontsize=9)
        axis.set_xlabel("threshold", fontsize=8)
        axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        tidy(axis, "both")
    axes[0, 0].set_ylim(0, 1.08 * max(curve.iloc[:, -1].max() for curve in best.values()) or 1)
    axes[0, 0].set_ylabel(score, fontsize=8)
    headline(figure, title)
    save(figure, path)


def _splits(curve: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return dict(list(curve.groupby("split", sort=False))) if "split" in curve else {"": curve}


def varied_settings(search: pd.DataFrame) -> list[str]:
    """The settings, columns of a search's table, that have more than one value."""
    settings = search.drop(columns=["stage", "miou"])
    return [name for name in settings if settings[name].nunique() > 1]


def draw_search(search: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw the mIoU of all combinations of settings over each setting that varies; a ring marks the best one.

    Args:
        search: columns stage (none, coarse or fine), miou (percent), and one column per setting.
        path: PNG file to write.
    """
    plain, settings = search.loc[search["stage"] == "none", "miou"].item(), search[search["stage"] != "none"]
    names = varied_settings(settings) or [settings.columns[-1]]
    best = settings.loc[settings["miou"].idxmax()]
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.6 * len(names) + 1.8, 3.2), squeeze=False, sharey=True, layout="constrained"
    )
    for axis, name in zip(axes.flat, names, strict=True):
        axis.axhline(plain, color="0.4", linestyle="--", linewidth=1, label=f"without CRF: {plain:.1f}")
        for (stage, rows), colour in zip(settings.groupby("stage", sort=False), COLOURS, strict=False):
            axis.plot(rows[name], rows["miou"], "o", color=colour, markersize=4, alpha=0.7, label=f"{stage} grid")
        axis.plot(best[name], best["miou"], "o", color="black", markersize=9, fillstyle="none",
                  label=f"best: {best['miou']:.1f}")  # fmt: skip
        axis.set_xlabel(name, fontsize=8)
        tidy(axis, "both")
    axes[0, 0].set_ylabel("mIoU (%)", fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8,
                  frameon=False)  # fmt: skip
    headline(figure, title)
    save(figure, path)


def short_names(checkpoints: Sequence[str]) -> tuple[str, list[str]]:
    """The common folder of checkpoints, and their paths in it, without suffix and without the usual `/network`."""
    folder = os.path.commonpath([os.path.dirname(path) for path in checkpoints])
    names = [os.path.splitext(os.path.relpath(path, folder))[0] for path in checkpoints]
    return folder, [name.removesuffix("/network") for name in names]
