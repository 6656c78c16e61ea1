"""The result table of a target: every variant's scores, baselines beside the method.

In: scores of every variant, costs of all or of the first ones, the splits' manifest, and that of the partition where
some training images have no masks. Out: CSV with the columns of every result table (DESIGN: one tidy CSV a target); its
aggregates are also printed, and are a page of HTML, `page`. `picture`, PNG of the IoU of each class, for every group of
variants in `compared`, the baseline first. Params: `roles`, variant to the split it was scored on (train,
labelled_train, val), in the order of `scores`; `published`, whether the papers' numbers belong beside these variants;
`network`, which one, where the paper has several; `drawn`, whether the data are drawn scenes; `note`, what else there
is to say about them.
"""

import json
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from maskmill.evaluation.papers import PAPERS
from maskmill.reporting.classes import draw_classes
from maskmill.reporting.tables import data_name, partition_name, result_rows, summary, summary_page
from maskmill.storage.atomic import atomic_path, write_text
from maskmill.workflow import stage


def main(
    manifest: str,
    scores: list[str],
    table: str,
    page: str,
    method: str,
    roles: dict,
    published: bool,
    dataset: str,
    drawn: bool,
    scale: str,
    seed: int,
    costs: list[str] = (),
    partition: list[str] = (),
    network: str | None = None,
    note: str = "",
    picture: str | None = None,
    compared: list[list[str]] = (),
) -> None:
    splits = json.loads(Path(manifest).read_text())
    key = (method, dataset, network) if network else (method, dataset)
    papers = PAPERS.get(key, {}) if published else {}
    learned = partition_name(json.loads(Path(partition[0]).read_text())) if partition else ""
    learned += note
    parts = []
    for (variant, role), *paths in zip_longest(roles.items(), scores, costs):
        data, same_split = data_name(dataset, splits[role], drawn=drawn)
        parts.append(
            result_rows(
                pd.concat([pd.read_csv(path, keep_default_na=False) for path in paths if path]),
                variant=variant,
                constants={"method": method, "dataset": dataset, "scale": scale, "seed": seed},
                data=data + learned,
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
