"""The result table of MARS: labels on train, students on val, baseline beside method.

In: scores of every variant, the splits' manifest. Out: CSV with the columns of every result table (DESIGN: one tidy
CSV a target); its aggregates are also printed.
"""

import json
from pathlib import Path

import pandas as pd

import stage
from maskmill.evaluation.papers import MARS_VOC
from maskmill.reporting.tables import data_name, result_rows, summary
from maskmill.storage.atomic import atomic_path


def main(
    manifest: str,
    scores: list[str],
    table: str,
    variants: list[str],
    dataset: str,
    scale: str,
    provider: str,
    seed: int,
) -> None:
    splits = json.loads(Path(manifest).read_text())
    parts = []
    for variant, path in zip(variants, scores, strict=True):
        split = splits["labelled_train" if variant.startswith("label/") else "val"]
        data, published = data_name(dataset, scale, split)
        parts.append(
            result_rows(
                pd.read_csv(path, keep_default_na=False),
                variant=variant,
                constants={"method": "mars", "dataset": dataset, "scale": scale, "seed": seed},
                data=data,
                images=split["images"],
                paper=MARS_VOC.get(variant) if provider == "irn" else None,
                comparable=published and scale == "paper",
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    with atomic_path(table) as path:
        rows.to_csv(path, index=False, float_format="%.3f")
    print(f"\n{table}\n{summary(rows)}\n", flush=True)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
