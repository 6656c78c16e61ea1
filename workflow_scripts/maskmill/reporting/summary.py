"""What result tables say in one: the rows that methods are judged by beside their baselines, over all seeds at hand."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from maskmill.errors import InputError
from maskmill.reporting.tables import COLUMNS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Headline:
    """A row that a method is judged by, as a pattern of `variant`, and the variant that it is judged against, which may
    use the pattern's groups."""

    row: str
    baseline: str
    metrics: tuple[str, ...] = ("miou",)


HEADLINES = {
    "mars": [Headline("student/mars", "student/baseline")],
    "bas": [
        Headline("seed/bas", "seed/cam"),
        Headline("label/bas", "label/irn"),
        Headline("bas", "cam", ("gt_known_loc", "gt_known_loc_heldout")),
    ],
    "deeplab": [Headline("aspp_l", "largefov"), Headline(r"(aspp_l|aspp_l_msc)\+crf", r"\1")],
    "cwbass": [Headline("cwbass", "supervised")],
    "mgd": [Headline(r"(\w+)_(cached|online)", r"\1_supervised")],
    "p2at": [Headline("s", "plain_decoder")],  # m and l have other backbones than the baseline
    "barm": [Headline(r"([^/]+)/barm", r"\1/finetune", ("miou", "miou_old", "miou_new"))],
    "mixreorg": [Headline("mixreorg", "groupvit")],
    "zeroseg": [Headline("zeroseg", "base")],
}

# What no mean is taken across. The paper's source tells networks apart that no other column names.
ALIKE = ["method", "dataset", "scale", "data", "images", "metric", "paper_value", "paper_source"]
SUMMARY_COLUMNS = [
    *("method", "dataset", "scale", "data", "images", "row", "baseline", "metric"),
    *("seeds", "values", "baseline_values", "value", "baseline_value", "gain", "paper_value", "paper_source"),
]


def read_table(path: str) -> pd.DataFrame | None:
    """The aggregates of a result table, with the file's name as column `file`; None for a CSV of other columns.

    Raises:
        InputError: no such file, or not a CSV.
    """
    try:
        table = pd.read_csv(path, dtype={"class_name": str, "paper_source": str})
    except FileNotFoundError:
        raise InputError(f"{path}: no such table; make it with snakemake, or leave it out") from None
    except ValueError:  # what pandas raises for files that are no CSV
        raise InputError(f"{path}: not a CSV file; leave it out") from None
    if list(table.columns) != COLUMNS:
        return None
    return table[table["class_name"].isna()].fillna({"paper_source": ""}).assign(file=path)


def summarise(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Headline rows in the order of the tables, one line for all seeds of one thing.

    A thing is what agrees in ALIKE, row and baseline; a row and its baseline are of one table, so of one seed. `seeds`,
    `values` and `baseline_values` are tuples, an element a seed; `value` and `baseline_value` are their means, `gain`
    is the difference of these. Tables without a headline row and its baseline are left out, with a warning.

    Args:
        tables: of `read_table`.

    Raises:
        InputError: two tables hold the same row of the same seed, or none holds a headline row with its baseline.
    """
    rows = pd.concat(tables, ignore_index=True)
    refuse_twins(rows)
    pairs = pd.concat([pairs_of(rows, method, headline) for method in HEADLINES for headline in HEADLINES[method]])
    if pairs.empty:
        files = ", ".join(rows["file"].unique())
        raise InputError(f"{files}: no method's row stands beside its baseline; give tables of whole targets")
    for file in rows.loc[~rows["file"].isin(pairs["file"]), "file"].unique():
        logger.warning("left out: %s: its method's row does not stand beside its baseline", file)
    pairs = pairs.sort_values("seed", kind="stable")
    found = []
    for key, of_seeds in pairs.groupby([*ALIKE, "row", "baseline"], sort=False, dropna=False):
        values, baselines = tuple(of_seeds["value"]), tuple(of_seeds["baseline_value"])
        value, baseline = (sum(each) / len(each) for each in (values, baselines))
        found.append(
            {
                **dict(zip([*ALIKE, "row", "baseline"], key, strict=True)),
                **{"seeds": tuple(of_seeds["seed"]), "values": values, "baseline_values": baselines},
                **{"value": value, "baseline_value": baseline, "gain": value - baseline},
                "place": of_seeds.index.min(),
            }
        )
    return pd.DataFrame(found).sort_values("place", kind="stable", ignore_index=True)[SUMMARY_COLUMNS]


def refuse_twins(rows: pd.DataFrame) -> None:
    """Raises InputError where two tables hold the same row of the same seed."""
    key = [*ALIKE, "variant", "seed"]
    second = rows[rows.duplicated(key)].head(1)
    for file in second["file"]:
        first = rows.merge(second[key], on=key).iloc[0]
        raise InputError(
            f"{file}: holds {first['method']} {first['variant']} of seed {first['seed']} as {first['file']} does; give "
            "each run once"
        )


def pairs_of(rows: pd.DataFrame, method: str, headline: Headline) -> pd.DataFrame:
    """A headline's rows with `baseline` and `baseline_value`, one a metric and seed; the index is that of `rows`."""
    matches = rows["variant"].map(lambda variant: re.fullmatch(headline.row, variant))
    chosen = rows[(rows["method"] == method) & rows["metric"].isin(headline.metrics) & matches.notna()]
    chosen = chosen.rename(columns={"variant": "row"})
    chosen["baseline"] = [matches[number].expand(headline.baseline) for number in chosen.index]
    same = ["method", "dataset", "scale", "data", "images", "metric", "seed", "file"]
    baselines = rows.rename(columns={"variant": "baseline", "value": "baseline_value"})
    baselines = baselines[[*same, "baseline", "baseline_value"]]
    return chosen.reset_index().merge(baselines, on=[*same, "baseline"]).set_index("index")


def as_csv(summary: pd.DataFrame) -> str:
    """CSV; lists inside a field are separated by spaces."""
    lists = {name: summary[name].map(lambda each: _joined(each, " ", 3)) for name in ("values", "baseline_values")}
    seeds = summary["seeds"].map(lambda each: " ".join(map(str, each)))
    return summary.assign(seeds=seeds, **lists).to_csv(index=False, float_format="%.3f", lineterminator="\n")


def as_markdown(summary: pd.DataFrame) -> str:
    """The same as a page with one table; where there are several seeds, a mean has each one's value behind it."""
    head = ("method", "evaluated on", "row", "against", "metric", "value", "baseline", "gain", "seeds", "paper")
    lines = ["# Results", "", _line(head), _line(["---"] * len(head))]
    for row in summary.itertuples():
        evaluated = f"{row.scale}: {row.data} ({row.images} images)"
        value, baseline = _mean(row.value, row.values), _mean(row.baseline_value, row.baseline_values)
        seeds = ", ".join(map(str, row.seeds))
        paper = "" if pd.isna(row.paper_value) else f"{row.paper_value:g} ({row.paper_source})"
        names = (f"{row.method} {row.dataset}", evaluated, row.row, row.baseline, row.metric)
        lines.append(_line([*names, value, baseline, f"{row.gain:+.1f}", seeds, paper]))
    return "\n".join([*lines, "", NOTE]) + "\n"


NOTE = (
    "Percent. Means over the seeds, with the value of each seed in brackets. Rows and their baselines are of the same "
    "data and seeds; nothing is averaged over different scales, data or labels. A paper's number can be compared where "
    "its source does not say otherwise."
)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _mean(mean: float, values: Sequence[float]) -> str:
    return f"{mean:.1f}" + (f" ({_joined(values, ', ', 1)})" if len(values) > 1 else "")


def _joined(values: Sequence[float], separator: str, digits: int) -> str:
    return separator.join(f"{value:.{digits}f}" for value in values)
