"""Run time and memory of the stages, from the benchmark files that Snakemake writes."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from maskmill.reporting.style import COLOURS, headline, plt, save, tidy

COLUMNS = ["dataset", "stage", "jobs", "wall_s", "longest_s", "cpu_s", "peak_mib"]


def place_of(benchmark: Path, datasets: Collection[str]) -> tuple[str, str]:
    """Data set and stage of a benchmark file, from its path; the data set is empty for stages that several share.

    Args:
        benchmark: path below benchmarks/{scale}, e.g. voc/cams/1-of-2.tsv, merge_maps/voc/cams.tsv, train_uss.tsv.
        datasets: names of the folders that are data sets.
    """
    parts = benchmark.with_suffix("").parts
    return next((part for part in parts if part in datasets), ""), next(part for part in parts if part not in datasets)


def stage_costs(folder: str | Path, datasets: Collection[str]) -> pd.DataFrame:
    """Costs of every stage that has run, the longest first, in the columns `COLUMNS`.

    `jobs`: number of jobs; `wall_s`: run time of all jobs together, seconds; `longest_s`: run time of the longest job,
    seconds; `cpu_s`: time of all cores, seconds; `peak_mib`: largest memory of one job (resident set, MiB), NaN where
    all jobs were too short to be measured.

    Args:
        folder: with the benchmark files, at any depth.
        datasets: see `place_of`.
    """
    folder = Path(folder)
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        dataset, stage = place_of(path.relative_to(folder), datasets)
        measured = pd.read_csv(path, sep="\t", na_values="-")
        rows.append(measured[["s", "cpu_time", "max_rss"]].assign(dataset=dataset, stage=stage))
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    groups = pd.concat(rows, ignore_index=True).groupby(["dataset", "stage"])
    table = groups.agg(
        jobs=("s", "size"),
        wall_s=("s", "sum"),
        longest_s=("s", "max"),
        cpu_s=("cpu_time", "sum"),
        peak_mib=("max_rss", "max"),
    )
    return table.reset_index().sort_values("wall_s", ascending=False, ignore_index=True)[COLUMNS]


def duration_text(seconds: float) -> str:
    """A duration as text, in the largest of the units hours, minutes and seconds that it contains."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def draw_costs(table: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw run time, time of all cores and peak memory of each stage on logarithmic axes, the longest stage on top.

    Args:
        table: from `stage_costs`.
        path: PNG file to write.
    """
    names = [" ".join(filter(None, row)) for row in table[["dataset", "stage"]].itertuples(index=False)]
    size = (10, 0.2 * len(table) + 1.6)
    figure, (time, memory) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=[3, 2], layout="constrained")
    at = range(len(table))
    time.barh(at, table["wall_s"], color=COLOURS[0], height=0.7, label="run time, all jobs")
    time.plot(table["cpu_s"].clip(lower=0.01), at, "|", color=COLOURS[4], markersize=9, markeredgewidth=2,
              label="time of all cores")  # fmt: skip
    jobs = [f"{count} {'job' if count == 1 else 'jobs'}" for count in table["jobs"]]
    _write(time, table["wall_s"], [f"{duration_text(s)}, {n}" for s, n in zip(table["wall_s"], jobs, strict=True)])
    time.set_yticks(at, names)
    time.invert_yaxis()
    time.set_xlabel("seconds", fontsize=8)
    time.legend(fontsize=8, frameon=False, loc="lower right")
    memory.barh(at, table["peak_mib"], color=COLOURS[2], height=0.7)
    _write(memory, table["peak_mib"], [f"{value:,.0f}" for value in table["peak_mib"]])
    memory.set_xlabel("peak memory of one job (MiB)", fontsize=8)
    for axis in (time, memory):
        axis.set_xscale("log")
        axis.margins(y=0.5 / max(len(table), 1))
        tidy(axis, "x")
    headline(figure, title)
    save(figure, path)


def _write(axis: plt.Axes, values: pd.Series, texts: Sequence[str]) -> None:
    """Write a text after each bar that has a length."""
    for at, (value, text) in enumerate(zip(values, texts, strict=True)):
        if value > 0:
            axis.text(value * 1.1, at, text, va="center", fontsize=6)
