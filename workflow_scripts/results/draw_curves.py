"""Draw a target's scores over thresholds.

In: tables of scores.
Out: a picture with a line per table and an axis per split.
"""

import pandas as pd

from maskmill.reporting.curves import draw_thresholds
from maskmill.workflow import stage


def main(curves: list[str], picture: str, names: list[str], score: str, method: str, dataset: str, scale: str) -> None:
    """Draw the picture.

    Args:
        curves: CSVs with columns threshold and, last, a score in percent; split and top_k where there are several.
        names: names of the lines, in the order of the tables.
        score: name of the score, for the axis.
        dataset: name of the data set, for the title.
    """
    tables = {name: pd.read_csv(path) for name, path in zip(names, curves, strict=True)}
    draw_thresholds(tables, picture, f"{method} on {dataset}, scale {scale}", f"{score} (%)")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
