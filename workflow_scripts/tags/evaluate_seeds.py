"""Measure the mIoU of class activation maps at every threshold of the background.

In: index, id list, class activation maps.
Out: the mIoU at each threshold, and the scores at the best one.
Source: `step/eval_cam.py` of jiwoon-ahn/irn, which uses one threshold.
"""

import logging

import numpy as np
import pandas as pd

from maskmill.data.catalog import averaged_ids, find_dataset
from maskmill.data.images import read_mask
from maskmill.data.index import read_ids, read_index
from maskmill.evaluation.segmentation import SeedCurve, scores
from maskmill.progress import progress
from maskmill.refinement.resize import resize_planes
from maskmill.storage.atomic import atomic_path
from maskmill.storage.maps import open_maps
from maskmill.workflow import stage


def main(
    dataset: str,
    index: str,
    ids: str,
    maps: str,
    curve: str,
    scores_table: str,
    thresholds: list[float],
    classes: list[str] | None = None,
    counted: str = "occurring",
) -> None:
    """Score the maps at every threshold.

    Args:
        ids: text file with the ids of the images to score, which have masks, one per line.
        maps: map store of class activation maps.
        curve: CSV to write, with columns threshold and miou (percent).
        thresholds: thresholds of the background: first, end (not included), step.
        scores_table: CSV to write, with columns metric, class_name and value (percent), at the threshold of the largest
            mIoU.
    """
    about, records, store = find_dataset(dataset, index), read_index(index), open_maps(maps)
    seeds = SeedCurve(about.num_classes, np.arange(*thresholds))
    for image_id in progress(read_ids(ids), "seeds"):
        truth = read_mask(records[image_id].mask, about.num_classes)
        cam = resize_planes(store[image_id].astype(np.float32), truth.shape)
        seeds.add(truth, cam, store.attributes_of(image_id)["classes"])
    averaged = averaged_ids(about, classes)
    miou = seeds.miou(averaged)
    with atomic_path(curve) as path:
        pd.DataFrame({"threshold": seeds.thresholds.round(4), "miou": miou}).to_csv(path, index=False)
    best = int(np.nanargmax(miou))
    with atomic_path(scores_table) as path:
        rows = scores(seeds.matrix(best), about.classes, averaged, counted=counted)
        pd.DataFrame(rows).to_csv(path, index=False)
    logging.info("seed mIoU %.1f at threshold %.2f", miou[best], seeds.thresholds[best])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
