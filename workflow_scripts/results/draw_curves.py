"""One picture of a target's scores over thresholds.

In: CSVs with columns threshold and, last, a score in percent; those of several splits or top-k have columns for them.
Out: PNG, a line a CSV, an axis a split. Params: `names` of the lines, `score`, what it is.
"""

import pandas as pd

from maskmill.reporting.curves import draw_thresholds
from maskmill.workflow import stage


def main(curves: list[str], picture: str, names: list[str], score: str, method: str, dataset: str, scale: str) -> None:
    tables = {name: pd.read_csv(path) for name, path in zip(names, curves, strict=True)}
    draw_thresholds(tables, picture, f"{method} on {dataset}, scale {scale}", f"{score} (%)")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
