"""Turn score maps into labels with the dense CRF.

In: index, id list, score maps, the setting that the search chose.
Out: labels.
Source: DeepLab v2 (Chen et al., TPAMI 2017).
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index, shard
from maskmill.processes import in_processes
from maskmill.refinement.score_maps import crf_labels, unary_of
from maskmill.storage.maps import Maps, create_maps, open_maps
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    logits: str,
    maps: str,
    crf: dict,
    setting: list[str] = (),
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
    threads: int = 1,
) -> None:
    """Label the images of one part.

    Args:
        maps: map store to write: labels uint8 [H, W] at the working size.
        setting: JSON file of `crf_search.py`, whose parameters replace those of `crf`; none: `crf` is used.
    """
    for path in setting:
        crf = json.loads(Path(path).read_text())["crf"]
    records, image_ids = read_index(index), shard(read_ids(ids), scatteritem)
    label = partial(label_of, scores=open_maps(logits), crf=crf, short_side=short_side)
    with create_maps(maps, "label", producer="crf_logits", parameters=crf, inputs=[logits]) as store:
        labels = in_processes(label, [records[i] for i in image_ids], threads, f"crf {scatteritem}")
        for image_id, image_labels in zip(image_ids, labels, strict=True):
            store.write(image_id, image_labels)


def label_of(record: Record, scores: Maps, crf: dict, short_side: int | None) -> np.ndarray:
    image = read_image(record.image, short_side)
    unary = unary_of(scores[record.image_id], image.shape[:2], f"{scores.path}: {record.image_id}")
    return crf_labels(image, unary, crf)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
