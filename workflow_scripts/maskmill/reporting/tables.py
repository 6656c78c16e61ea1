"""The tidy result table of a target."""

import html
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from maskmill.evaluation.published import Numbers, PaperValue

COLUMNS = [
    *("method", "dataset", "scale", "data", "images", "variant", "seed", "settings"),
    *("metric", "class_name", "value", "paper_value", "paper_source"),
]

PAGE = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>{title}</title><style>
body {{font: 14px sans-serif; margin: 1em}}
table {{border-collapse: collapse}}
th, td {{padding: 0.3em 0.7em; text-align: right; border-bottom: 1px solid #ddd}}
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), th:last-child, td:last-child {{text-align: left}}
td:last-child {{font-size: 85%}}
</style></head><body><h3>{title}</h3>
{rows}
</body></html>
"""


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a CSV of scores: columns metric, class_name and value.

    An empty value is NaN: nothing counted there. Names of classes stay as they are, also "NA" and "null".
    """
    return pd.read_csv(path, keep_default_na=False, na_values={"value": [""]}, dtype={"class_name": str})


def result_rows(
    scores: pd.DataFrame,
    *,
    variant: str,
    constants: Mapping,
    data: str,
    images: int,
    paper: Numbers | None,
    comparable: bool,
) -> pd.DataFrame:
    """Rows of one variant in the columns of every result table.

    Args:
        scores: columns metric, class_name (empty for aggregates), value.
        variant: name of the rows.
        constants: method, dataset, scale, seed, settings (their digest).
        data: description of the evaluated images.
        images: their number.
        paper: the published mIoU of this variant, or its published numbers by metric; None: there are none.
        comparable: whether data and scale are those of the paper; if not, `paper_source` says so.

    Returns:
        The columns `COLUMNS`.
    """
    rows = scores.assign(**constants, variant=variant, data=data, images=images, paper_value=None, paper_source="")
    published: Mapping[str, PaperValue] = {"miou": paper} if isinstance(paper, PaperValue) else paper or {}
    for metric, number in published.items():
        aggregate = rows["metric"] == metric
        rows["paper_value"] = rows["paper_value"].astype(object)
        rows.loc[aggregate, "paper_value"] = number.value
        rows.loc[aggregate, "paper_source"] = number.source + ("" if comparable else "; not comparable")
    return rows[COLUMNS]


def data_name(dataset: str, split: dict, *, drawn: bool) -> tuple[str, bool]:
    """Describe a split of the manifest for the column `data`.

    A user's own list is described with both sizes. Drawn scenes never have the data set's name. Where a data set has
    several sets of labels, the description names the set.

    Args:
        dataset: its name.
        split: entry of the manifest, see `data.voc.manifest`.
        drawn: whether the images are scenes that the workflow draws.

    Returns:
        The description, and whether the split is the published one with its official labels.
    """
    if split["published"] == "own":
        return f"{dataset} {split['list']}", False
    if drawn:
        return f"sample scenes {split['list']}", False
    published = split["published"] == "published"
    name = f"{dataset} {split['list']}" + ("" if published else f" ({split['published']})")
    labels = split.get("labels", "official")
    return name + (f"; labels: {labels}" if "labels" in split else ""), published and labels.startswith("official")


def partition_name(partition: dict) -> str:
    """Describe a partition, from its manifest; the text follows that of `data_name`."""
    part, labelled = partition["part"].replace("_", "/"), partition["labelled"]["images"]
    total = labelled + partition["unlabelled"]["images"]
    if partition["published"] == "own":
        return f"; masks: {labelled} of {total}"
    return f"; masks: {partition['protocol']} {part}, {partition['published']}, {labelled} of {total}"


def aggregates(table: pd.DataFrame) -> pd.DataFrame:
    """The scores over several classes, one row per variant: columns variant, data, images, and one per metric."""
    rows = table[table["class_name"].fillna("") == ""]
    wide = rows.set_index(["variant", "data", "images", "metric"])["value"].unstack(sort=False)
    wide.columns.name = None
    return wide.reset_index()


def summary(table: pd.DataFrame) -> str:
    """The aggregates as text for the terminal, one line per variant."""
    return aggregates(table).to_string(index=False, float_format=lambda value: f"{value:.1f}")


def summary_page(table: pd.DataFrame, title: str) -> str:
    """The aggregates as an HTML page, one row per variant; the last column has published numbers and their sources."""
    wide = aggregates(table)
    published = table.dropna(subset="paper_value")
    texts = published["metric"] + " " + published["paper_value"].astype(str) + " (" + published["paper_source"] + ")"
    wide["published"] = wide["variant"].map(texts.groupby(published["variant"]).agg("; ".join))
    rows = wide.to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:.2f}")
    return PAGE.format(title=html.escape(title), rows=rows)
