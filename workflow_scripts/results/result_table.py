"""Write the result table of a target: the scores of every variant, the baseline among them.

In: scores and costs of the variants, manifests of the splits and of the partition.
Out: one table with the columns of every result table, its aggregates as a page and on stdout, a picture of the IoUs.
"""

import json
from pathlib import Path

import pandas as pd

from maskmill.evaluation.papers import PAPERS
from maskmill.reporting.classes import draw_classes
from maskmill.reporting.tables import data_name, partition_name, read_scores, result_rows, summary, summary_page
from maskmill.storage.atomic import atomic_path, write_text
from maskmill.workflow import stage


def main(
    manifest: str,
    scores: list[str],
    table: str,
    page: str,
    method: str,
    roles: dict,
    settings: dict,
    published: bool,
    dataset: str,
    drawn: bool,
    scale: str,
    seed: int,
    costs: list[str] = (),
    rows_with_costs: list[str] = (),
    partition: list[str] = (),
    network: str | None = None,
    note: str = "",
    picture: str | None = None,
    compared: list[list[str]] = (),
) -> None:
    """Write the table, its page and its picture.

    Args:
        manifest: JSON with the counts and checksums of the splits.
        scores: CSVs of scores, in the order of `roles`.
        table: CSV to write.
        page: HTML file to write.
        roles: variant to the split that it is scored on: train, labelled_train or val.
        settings: variant to the digest of the settings behind it.
        published: whether the papers' numbers belong beside these variants.
        drawn: whether the images are drawn scenes.
        seed: seed of the run, for the table.
        costs: CSVs with further figures of some variants, such as those of `measure_cost.py`.
        rows_with_costs: the variants that `costs` belong to, in its order.
        partition: JSON with the manifest of the partition, where some training images have no masks.
        network: name of the network whose published numbers are meant, where the paper has several.
        note: text to add to the column `data`.
        picture: PNG to draw: the IoU of each class.
        compared: groups of variants that the picture compares, the baseline of each first.
    """
    splits = json.loads(Path(manifest).read_text())
    key = (method, dataset, network) if network else (method, dataset)
    papers = PAPERS.get(key, {}) if published else {}
    data_suffix = partition_name(json.loads(Path(partition[0]).read_text())) if partition else ""
    data_suffix += note
    parts = []
    cost_of = dict(zip(rows_with_costs, costs, strict=True))
    for (variant, role), score in zip(roles.items(), scores, strict=True):
        data, same_split = data_name(dataset, splits[role], drawn=drawn)
        parts.append(
            result_rows(
                pd.concat([read_scores(path) for path in (score, cost_of.get(variant)) if path]),
                variant=variant,
                constants={
                    **{"method": method, "dataset": dataset, "scale": scale, "seed": seed},
                    "settings": settings[variant],
                },
                data=data + data_suffix,
                images=splits[role]["images"],
                paper=papers.get(variant),
                comparable=same_split and scale == "paper",
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    with atomic_path(table) as path:
        rows.to_csv(path, index=False, float_format="%.3f")
    title = f"{method} on {dataset}, scale {scale}"
    write_text(page, summary_page(rows, f"{title}, seed {seed}"))
    if picture:
        draw_classes(rows, compared, picture, f"{title}: IoU of each class")
    print(f"\n{table}\n{summary(rows)}\n", flush=True)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
