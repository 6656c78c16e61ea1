"""Tabulate and draw the forgetting matrix of a task: the IoU of each class after each step.

In: scores after each step, of all variants.
Out: a table, and a heat map per variant.
"""

import pandas as pd

from maskmill.data.catalog import DATASETS
from maskmill.evaluation.incremental import forgetting_table
from maskmill.reporting.incremental import draw_forgetting
from maskmill.reporting.tables import read_scores
from maskmill.storage.atomic import atomic_path
from maskmill.workflow import stage


def main(
    dataset: str,
    task: str,
    scores: list[str],
    matrix: str,
    picture: str,
    steps: list[list[int]],
    variants: list[str],
    scheme: str,
    scale: str,
) -> None:
    """Tabulate and draw the scores.

    Args:
        task: name of the protocol, such as 15-1, for the title.
        scores: CSVs of scores after each step, those of the first variant first.
        matrix: CSV to write, with columns variant, step, class_name, learned_in (step) and iou (percent).
        variants: names of the variants, in the order of the scores.
        scheme: overlapped or disjoint, for the title.
    """
    names, tables = DATASETS[dataset].classes, [read_scores(path) for path in scores]
    parts = [
        forgetting_table(tables[start : start + len(steps)], names, steps).assign(variant=variant)
        for variant, start in zip(variants, range(0, len(tables), len(steps)), strict=True)
    ]
    rows = pd.concat(parts, ignore_index=True)[["variant", "step", "class_name", "learned_in", "iou"]]
    with atomic_path(matrix) as path:
        rows.to_csv(path, index=False, float_format="%.3f")
    title = f"{dataset} {task}, {scheme}, scale {scale}: IoU of each class after each step"
    draw_forgetting(rows, picture, title)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
