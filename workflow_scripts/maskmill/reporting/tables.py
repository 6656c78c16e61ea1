"""The tidy result table of a target."""

import html
from collections.abc import Mapping

import pandas as pd

from maskmill.evaluation.papers import PaperValue

COLUMNS = [
    *("method", "dataset", "scale", "data", "images", "variant", "seed"),
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


def result_rows(
    scores: pd.DataFrame,
    *,
    variant: str,
    constants: Mapping,
    data: str,
    images: int,
    paper: PaperValue | Mapping[str, PaperValue] | None,
    comparable: bool,
) -> pd.DataFrame:
    """Rows of one variant in the columns of every result table.

    Args:
        scores: columns metric, class_name, value.
        constants: method, dataset, scale, seed.
        data, images: what was evaluated, in words, and how many images.
        paper: the published mIoU of this variant, or its published numbers by metric, if any were read.
        comparable: whether data and scale are the paper's; if not, `paper_source` says so.
    """
    rows = scores.assign(**constants, variant=variant, data=data, images=images, paper_value=None, paper_source="")
    published = {"miou": paper} if isinstance(paper, PaperValue) else paper or {}
    for metric, number in published.items():
        aggregate = rows["metric"] == metric
        rows["paper_value"] = rows["paper_value"].astype(object)
        rows.loc[aggregate, "paper_value"] = number.value
        rows.loc[aggregate, "paper_source"] = number.source + ("" if comparable else "; not comparable")
    return rows[COLUMNS]


def data_name(dataset: str, split: dict, *, drawn: bool) -> tuple[str, bool]:
    """What a split of the manifest is, in words, and whether it is the published split under its official labels.

    A list of the user's own is named with both sizes, and drawn scenes are never called by the data set's name. Where
    a data set has several sets of labels, theirs is named.

    Args:
        drawn: whether the images are scenes that the workflow draws.
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
    """What a partition's manifest says, to stand behind the name of the evaluated data."""
    part, labelled = partition["part"].replace("_", "/"), partition["labelled"]["images"]
    total = labelled + partition["unlabelled"]["images"]
    if partition["published"] == "own":
        return f"; masks: {labelled} of {total}"
    return f"; masks: {partition['protocol']} {part}, {partition['published']}, {labelled} of {total}"


def aggregates(table: pd.DataFrame) -> pd.DataFrame:
    """What is not of a single class, one row a variant: columns variant, data, images, then a column a metric."""
    rows = table[table["class_name"].fillna("") == ""]
    wide = rows.pivot_table(index=["variant", "data", "images"], columns="metric", values="value", sort=False)
    wide.columns.name = None
    return wide.reset_index()


def summary(table: pd.DataFrame) -> str:
    """The aggregates as text, one line a variant, for the terminal."""
    return aggregates(table).to_string(index=False, float_format=lambda value: f"{value:.1f}")


def summary_page(table: pd.DataFrame, title: str) -> str:
    """The aggregates as an HTML page, one row a variant; the last column is what was published, and where."""
    wide = aggregates(table)
    published = table.dropna(subset="paper_value")
    says = published["metric"] + " " + published["paper_value"].astype(str) + " (" + published["paper_source"] + ")"
    wide["published"] = wide["variant"].map(says.groupby(published["variant"]).agg("; ".join))
    rows = wide.to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:.2f}")
    return PAGE.format(title=html.escape(title), rows=rows)
