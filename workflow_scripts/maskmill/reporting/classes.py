"""Bar charts of the IoU of each class, for a method and its baseline."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maskmill.reporting.style import BASELINE, COLOURS, headline, plt, save, tidy

MEAN, FOREGROUND, BACKGROUND = "mIoU", "foreground mean", "background"
LINE = 24  # groups of bars per line of a picture


def class_ious(table: pd.DataFrame, variants: Sequence[str]) -> pd.DataFrame:
    """IoU in percent, one row per group of bars, one column per variant; NaN where a class did not count.

    The groups are the mIoU; where there is a background, the mean over the foreground classes and the background; and
    the other classes, in the order of the variant that has most of them.

    Args:
        table: a result table.
        variants: columns of the result; those that are not in the table are left out.
    """
    rows = table[table["variant"].isin(variants)]
    wide = rows[rows["metric"] == "iou"].pivot(index="class_name", columns="variant", values="value")
    most_first = wide.count().sort_values(ascending=False, kind="stable").index
    ordered = [rows.loc[(rows["variant"] == v) & (rows["metric"] == "iou"), "class_name"] for v in most_first]
    wide = wide.reindex(index=pd.unique(pd.concat(ordered)))
    groups = [rows[rows["metric"] == "miou"].set_index("variant")["value"].to_frame(MEAN).T]
    if BACKGROUND in wide.index:
        groups += [wide.drop(BACKGROUND).mean().to_frame(FOREGROUND).T, wide.loc[[BACKGROUND]]]
        wide = wide.drop(BACKGROUND)
    return pd.concat([*groups, wide])[[variant for variant in variants if variant in groups[0]]].astype(float)


def draw_classes(
    table: pd.DataFrame,
    compared: Sequence[Sequence[str]],
    path: str | Path,
    title: str,
) -> None:
    """Draw the bars of `class_ious` for groups of variants.

    Means and background come first, on a darker ground and with their values; many classes take several lines. Variants
    that are not in the table, and groups without any variant, are left out.

    Args:
        table: a result table.
        compared: groups of variants; the first variant of each is the baseline, in grey.
        path: PNG file to write.
    """
    panels = []
    for variants in compared:
        if not table["variant"].isin(variants).any():
            continue
        bars = class_ious(table, variants)
        colours = dict(zip(variants, (BASELINE, *COLOURS), strict=False))
        panels += [(bars, colours, lines) for lines in np.array_split(np.arange(len(bars)), -(-len(bars) // LINE))]
    widest = max(len(lines) * (0.3 + 0.07 * len(bars.columns)) for bars, _, lines in panels)
    size = (max(widest, 5.5) + 0.8, 3.1 * len(panels) + 0.4)
    figure, axes = plt.subplots(len(panels), 1, figsize=size, squeeze=False, layout="constrained")
    for axis, (bars, colours, lines) in zip(axes.flat, panels, strict=True):
        first = lines[0] == 0
        _draw_bars(axis, bars.iloc[lines], colours, values_of=_leading(bars) if first else 0)
        if first:
            data = table[table["variant"] == bars.columns[0]].iloc[0]
            subtitle = f"{data['data']}, {data['images']} images, seed {data['seed']}"
            axis.set_title("\n".join(textwrap.wrap(subtitle, 15 * int(size[0]))), fontsize=8, loc="left")
            axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, title="grey: baseline",
                        title_fontsize=7, alignment="left")  # fmt: skip
    headline(figure, title)
    save(figure, path)


def _leading(bars: pd.DataFrame) -> int:
    return 1 + 2 * (BACKGROUND in bars.index)


def _draw_bars(axis: plt.Axes, bars: pd.DataFrame, colours: Mapping[str, str], values_of: int) -> None:
    """Draw one line of groups; the first `values_of` groups are set apart and show their values."""
    places, width = np.arange(len(bars), dtype=float), 0.84 / len(bars.columns)
    places[values_of:] += 0.4 * (values_of > 0)
    for number, variant in enumerate(bars.columns):
        at = places + (number - (len(bars.columns) - 1) / 2) * width
        axis.bar(at, bars[variant], width, color=colours[variant], label=variant)
        for x, value in zip(at[:values_of], bars[variant].iloc[:values_of], strict=True):
            if np.isfinite(value):  # no class of the foreground may have counted
                axis.text(x, value + 1.5, f"{value:.1f}", ha="center", va="bottom", fontsize=6, rotation=90)
    if values_of:
        axis.axvspan(-0.7, places[values_of - 1] + 0.7, color="0.95", zorder=-1)
    axis.set_xlim(-0.7, places[-1] + 0.7)
    axis.set_ylim(0, 112 if values_of else 100)
    axis.set_yticks(range(0, 101, 20))
    axis.set_xticks(places, bars.index, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_ylabel("IoU (%)", fontsize=8)
    tidy(axis)
