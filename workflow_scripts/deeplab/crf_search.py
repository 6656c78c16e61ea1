"""Search the parameters of the dense CRF: a coarse grid, then a finer one around its best point.

In: index, id list, score maps.
Out: the best setting, and the mIoU of every setting.
Source: the procedure of DeepLab v2 (Chen et al., TPAMI 2017), which searches on 100 validation images.
"""

import json
from functools import partial

import numpy as np
import pandas as pd

from maskmill.data.catalog import DATASETS, averaged_ids
from maskmill.data.images import read_image, read_mask
from maskmill.data.index import Record, read_ids, read_index
from maskmill.evaluation.segmentation import confusion, scores
from maskmill.methods.crf_search import coarse_settings, fine_settings
from maskmill.processes import in_processes
from maskmill.refinement.resize import resize_labels, resize_planes
from maskmill.refinement.score_maps import crf_labels, unary_of
from maskmill.storage.atomic import atomic_path, write_text
from maskmill.storage.maps import Maps, open_maps
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    logits: str,
    setting_file: str,
    table: str,
    coarse: dict,
    fine_steps: dict,
    crf: dict,
    classes: list[str] | None = None,
    short_side: int | None = None,
    threads: int = 1,
) -> None:
    """Search both grids.

    Args:
        ids: text file with the ids of the images to search on, which have masks, one per line.
        setting_file: JSON to write: the best parameters, their mIoU and that without a CRF (percent).
        table: CSV to write, with one row per setting: stage (none, coarse or fine), its parameters, miou (percent).
        coarse: parameter to the values of the coarse grid.
        fine_steps: parameter to the step of the finer grid, which goes one step below and above the best coarse value.
        crf: parameters of the dense CRF that are not searched.
    """
    records = read_index(index)
    search_records = [records[i] for i in read_ids(ids)]
    names, averaged = DATASETS[dataset].classes, averaged_ids(DATASETS[dataset], classes)

    def measure(settings: list[dict | None], title: str) -> list[float]:
        one = partial(matrices, scores=open_maps(logits), settings=settings, classes=len(names), short_side=short_side)
        total = sum(in_processes(one, search_records, threads, title))
        return [miou(matrix, names, averaged) for matrix in total]

    grid = coarse_settings(coarse, crf)
    miou_without, *values = measure([None, *grid], "coarse")
    rows = [("coarse", setting, value) for setting, value in zip(grid, values, strict=True)]
    steps = [s for s in fine_settings(best_of(rows)[1], fine_steps) if s not in grid]
    if steps:  # none if the fine grid lies within the coarse one
        rows += [("fine", setting, value) for setting, value in zip(steps, measure(steps, "fine"), strict=True)]

    tried = [{"stage": "none", "miou": miou_without}, *({"stage": n, **s, "miou": v} for n, s, v in rows)]
    with atomic_path(table) as path:
        pd.DataFrame(tried).to_csv(path, index=False, float_format="%.3f")
    _, best, value = best_of(rows)
    write_text(setting_file, json.dumps({"crf": best, "miou": value, "miou_without": miou_without}, indent=2) + "\n")


def best_of(rows: list[tuple[str, dict, float]]) -> tuple[str, dict, float]:
    return max(rows, key=lambda row: row[2])


def matrices(record: Record, scores: Maps, settings: list, classes: int, short_side: int | None) -> np.ndarray:
    """Confusion matrices [S, C, C] of one image, one per setting; the setting None is without a CRF."""
    image, logits = read_image(record.image, short_side), scores[record.image_id]
    size, truth = image.shape[:2], read_mask(record.mask, classes)
    unary = unary_of(logits, size, f"{scores.path}: {record.image_id}")
    out = []
    for crf in settings:
        if crf is None:
            labels = resize_planes(logits.astype(np.float32), size).argmax(axis=0).astype(np.uint8)
        else:
            labels = crf_labels(image, unary, crf)
        out.append(confusion(truth, resize_labels(labels, truth.shape), classes))
    return np.stack(out)


def miou(matrix: np.ndarray, names, averaged) -> float:
    return scores(matrix, names, averaged)[0]["value"]


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
