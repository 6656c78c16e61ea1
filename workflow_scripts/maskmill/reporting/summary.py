"""One table of all result tables: each method's headline rows beside their baselines, averaged over seeds.

The method's module in `maskmill.evaluation.papers` names its headline rows. A result table cannot name them, because
its columns are fixed.
"""

import logging
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from maskmill.errors import InputError
from maskmill.evaluation.papers import HEADLINES, Headline
from maskmill.reporting.tables import COLUMNS

logger = logging.getLogger(__name__)

# A mean is taken only over rows that agree in these columns. `paper_source` is one of them because it names the
# network, which no other column does.
ALIKE = ["method", "dataset", "scale", "data", "images", "metric", "paper_value", "paper_source"]
SUMMARY_COLUMNS = [
    *("method", "dataset", "scale", "data", "images", "row", "baseline", "metric"),
    *("settings", "seeds", "values", "baseline_values"),
    *("value", "baseline_value", "gain", "paper_value", "paper_source"),
]


def read_table(path: str) -> pd.DataFrame | None:
    """The aggregates of a result table, with the file's name as column `file`; None for a CSV with other columns.

    Raises:
        InputError: the file is missing or no CSV.
    """
    try:
        missing = {name: [""] for name in COLUMNS}  # and nothing else: a class may have the name "NA" or "null"
        types = {"class_name": str, "paper_source": str, "settings": str}
        table = pd.read_csv(path, keep_default_na=False, na_values=missing, dtype=types)
    except FileNotFoundError:
        raise InputError(f"{path}: no such table; make it with snakemake, or leave it out") from None
    except ValueError:  # what pandas raises for files that are no CSV
        raise InputError(f"{path}: not a CSV file; leave it out") from None
    if list(table.columns) == [name for name in COLUMNS if name != "settings"]:
        logger.warning("%s: does not tell its settings, so that other settings may be averaged; make it again", path)
        table["settings"] = ""
    if set(table.columns) != set(COLUMNS):
        return None
    return table[table["class_name"].isna()].fillna({"paper_source": ""}).assign(file=path)


def summarise(tables: Sequence[pd.DataFrame], headlines: Mapping[str, Sequence[Headline]] = HEADLINES) -> pd.DataFrame:
    """Headline rows in the order of the tables, in the columns `SUMMARY_COLUMNS`: one line per experiment.

    The rows of one line agree in `ALIKE`, row, baseline and settings, and differ in the seed. A row and its baseline
    come from the same table, hence from the same seed. `seeds`, `values` and `baseline_values` are tuples with one
    element per seed; `value` and `baseline_value` are their means, and `gain` is the difference of the means (percent
    points). A warning names a table that is left out, since it lacks a headline row or its baseline, and tables that
    differ in their settings alone.

    Args:
        tables: results of `read_table`.
        headlines: by method.

    Raises:
        InputError: two tables hold the same row of the same seed, or none holds a headline row with its baseline.
    """
    rows = pd.concat(tables, ignore_index=True)
    refuse_twins(rows)
    pairs = pd.concat([pairs_of(rows, method, one) for method, several in headlines.items() for one in several])
    if pairs.empty:
        files = ", ".join(rows["file"].unique())
        raise InputError(f"{files}: no method's row stands beside its baseline; give tables of whole targets")
    for file in rows.loc[~rows["file"].isin(pairs["file"]), "file"].unique():
        logger.warning("left out: %s: its method's row does not stand beside its baseline", file)
    pairs = pairs.sort_values("seed", kind="stable")
    lines = []
    experiment = [*ALIKE, "row", "baseline"]
    warn_of_settings(pairs, experiment)
    for key, of_seeds in pairs.groupby([*experiment, "settings"], sort=False, dropna=False):
        values, baselines = tuple(of_seeds["value"]), tuple(of_seeds["baseline_value"])
        value, baseline = (sum(several) / len(several) for several in (values, baselines))
        lines.append(
            {
                **dict(zip([*experiment, "settings"], key, strict=True)),
                **{"seeds": tuple(of_seeds["seed"]), "values": values, "baseline_values": baselines},
                **{"value": value, "baseline_value": baseline, "gain": value - baseline},
                "place": of_seeds.index.min(),
            }
        )
    return pd.DataFrame(lines).sort_values("place", kind="stable", ignore_index=True)[SUMMARY_COLUMNS]


def warn_of_settings(pairs: pd.DataFrame, experiment: list[str]) -> None:
    """Name the tables of one experiment that differ in their settings, which stand in lines of their own."""
    for _, alike in pairs.groupby(experiment, sort=False, dropna=False):
        files = alike.groupby("settings", sort=False)["file"].agg(lambda names: " and ".join(dict.fromkeys(names)))
        if len(files) > 1:
            one = alike.iloc[0]
            logger.warning(
                "%s %s %s: not averaged over %d settings: %s",
                *(one["method"], one["dataset"], one["row"], len(files)),
                "; ".join(f"{settings} in {names}" for settings, names in files.items()),
            )


def refuse_twins(rows: pd.DataFrame) -> None:
    """Refuse tables that hold the same row of the same seed twice.

    Raises:
        InputError: names both files and the row.
    """
    key = [*ALIKE, "variant", "seed", "settings"]
    second = rows[rows.duplicated(key)].head(1)
    for file in second["file"]:
        first = rows.merge(second[key], on=key).iloc[0]
        raise InputError(
            f"{file}: holds {first['method']} {first['variant']} of seed {first['seed']} as {first['file']} does; give "
            "each run once"
        )


def pairs_of(rows: pd.DataFrame, method: str, headline: Headline) -> pd.DataFrame:
    """The rows of a headline, one per metric and seed, with the columns `baseline` and `baseline_value`; the index is
    that of `rows`."""
    matches = rows["variant"].map(lambda variant: re.fullmatch(headline.row, variant))
    chosen = rows[(rows["method"] == method) & rows["metric"].isin(headline.metrics) & matches.notna()]
    chosen = chosen.rename(columns={"variant": "row"})
    chosen["baseline"] = [matches[number].expand(headline.baseline) for number in chosen.index]
    same = ["method", "dataset", "scale", "data", "images", "metric", "seed", "file"]
    new_names = {"variant": "baseline", "value": "baseline_value", "settings": "baseline_settings"}
    baselines = rows.rename(columns=new_names)[[*same, *new_names.values()]]
    pairs = chosen.reset_index().merge(baselines, on=[*same, "baseline"]).set_index("index")
    differ = pairs["settings"] != pairs["baseline_settings"]
    pairs.loc[differ, "settings"] += "/" + pairs["baseline_settings"]
    return pairs


def as_csv(summary: pd.DataFrame) -> str:
    """The summary as CSV; spaces separate the elements of a tuple."""
    lists = {name: summary[name].map(lambda values: _joined(values, " ", 3)) for name in ("values", "baseline_values")}
    seeds = summary["seeds"].map(lambda seeds: " ".join(map(str, seeds)))
    return summary.assign(seeds=seeds, **lists).to_csv(index=False, float_format="%.3f", lineterminator="\n")


def as_markdown(summary: pd.DataFrame) -> str:
    """The summary as a Markdown page with one table. With several seeds, their values follow the mean in brackets."""
    head = ("method", "evaluated on", "row", "against", "metric", "value", "baseline", "gain", "seeds", "paper")
    lines = ["# Results", "", _line(head), _line(["---"] * len(head))]
    several = summary.duplicated([*ALIKE, "row", "baseline"], keep=False)  # settings of one experiment
    for row in summary.assign(several=several).itertuples():
        settings = f"; settings {row.settings}" if row.several else ""
        evaluated = f"{row.scale}: {row.data} ({row.images} images){settings}"
        value, baseline = _mean(row.value, row.values), _mean(row.baseline_value, row.baseline_values)
        seeds = ", ".join(map(str, row.seeds))
        paper = "" if pd.isna(row.paper_value) else f"{row.paper_value:g} ({row.paper_source})"
        names = (f"{row.method} {row.dataset}", evaluated, row.row, row.baseline, row.metric)
        lines.append(_line([*names, value, baseline, f"{row.gain:+.1f}", seeds, paper]))
    return "\n".join([*lines, "", NOTE]) + "\n"


NOTE = (
    "Percent. Means over the seeds, with the value of each seed in brackets. Rows and their baselines are of the same "
    "data and seeds; nothing is averaged over different settings, scales, data or labels. A paper's number can be "
    "compared where its source does not say otherwise."
)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _mean(mean: float, values: Sequence[float]) -> str:
    return f"{mean:.1f}" + (f" ({_joined(values, ', ', 1)})" if len(values) > 1 else "")


def _joined(values: Sequence[float], separator: str, digits: int) -> str:
    return separator.join(f"{value:.{digits}f}" for value in values)
