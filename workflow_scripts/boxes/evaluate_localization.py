"""Score localisation maps against boxes and, where there are any, object masks (spec weakly_supervised 4.4).

In: index, boxes, id lists of the scored and of the held-out images, stores of maps and class scores of both. Out:
`scores_table`, CSV with columns metric, class_name, value (percent; `threshold` and `top_k` in their own units), and
`curve`, CSV with columns split, top_k, threshold, gt_known_loc (percent).

Every localisation metric stands there twice. Without a suffix, threshold and k are `setting`, the ones the authors
found on the images they score, or, where `setting` has none, found here in the same way; MaxBoxAccV2 takes its best
thresholds there too, as the benchmark defines it. With `_heldout`, all of them are chosen on the held-out images.
Params: `protocol`, `ext` or `cvpr`, see `maskmill.evaluation.localization`; `resize`, `crop`, sides in pixels that
the maps were made with; `thresholds`, of normalised maps: first, end, step; `setting`: threshold, top_k (one of the
maps'), each may be null.
"""

import json
import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index
from maskmill.data.localization import OBJECT, read_boxes
from maskmill.evaluation.localization import (
    PROTOCOLS,
    Protocol,
    accuracy,
    best_levels,
    best_setting,
    boxes_in_crop,
    contour_ious,
    enlarge,
    hits,
    max_box_accuracy,
    normalise,
    pixel_scores,
    printed_box_accuracy,
    ranks,
    score_histograms,
    threshold_ious,
)
from maskmill.processes import in_processes
from maskmill.storage.atomic import atomic_path
from maskmill.storage.maps import Maps, open_maps
from maskmill.workflow import stage


class Measured(NamedTuple):
    """One image: float32 [K, T], float32 [K, 255], int64 [K, 2, 1002] or None where the object has no mask."""

    ious: np.ndarray
    contours: np.ndarray
    histograms: np.ndarray | None


class Split(NamedTuple):
    """The images of a split, stacked; `histograms` summed over images; `ranks` of the true class by ten crops."""

    ious: np.ndarray
    contours: np.ndarray
    histograms: np.ndarray | None
    ranks: np.ndarray
    classes: np.ndarray


def main(
    boxset: str,
    index: str,
    boxes: str,
    ids: str,
    heldout: str,
    maps: str,
    scores: str,
    scores_table: str,
    curve: str,
    protocol: str,
    resize: int,
    crop: int,
    thresholds: list[float],
    setting: dict,
    threads: int = 1,
) -> None:
    rules, store = PROTOCOLS[protocol], open_maps(maps)
    top_k = json.loads(store.attributes["parameters"])["top_k"]
    levels = sorted({*np.arange(*thresholds).round(4), *filter(None, [setting["threshold"]])})
    measure_one = partial(measure, store=store, rules=rules, resize=resize, crop=crop, levels=levels)
    records, truth = read_index(index), read_boxes(boxes)
    splits = {}
    for name, path in (("val", ids), ("heldout", heldout)):
        images = [(records[image_id], truth[image_id]) for image_id in read_ids(path)]
        if images:
            measured = list(in_processes(measure_one, images, threads, f"evaluate {name}"))
            splits[name] = gathered(measured, [record for record, _ in images], open_maps(scores))

    by_class = rules.class_means and boxset == "cub"
    known = {name: split_rules(split, rules, by_class) for name, split in splits.items()}
    val = splits["val"]
    rows = [("top1_cls", accuracy(val.ranks < 1)), ("top5_cls", accuracy(val.ranks < 5))]
    chosen = {"": (*authors_choice(val.ious, top_k, levels, setting, **known["val"]), None)}
    if "heldout" in splits:
        k, threshold = best_setting(splits["heldout"].ious, **known["heldout"])
        chosen["_heldout"] = (k, threshold, best_levels(splits["heldout"].contours[:, k]))
    for suffix, (k, threshold, grey) in chosen.items():
        found = localization_scores(val, k, threshold, grey, **known["val"])
        found |= {"threshold": levels[threshold], "top_k": top_k[k]}
        rows += [(metric + suffix, value) for metric, value in found.items()]
    write_table(scores_table, pd.DataFrame(rows, columns=["metric", "value"]).assign(class_name=""))
    write_table(
        curve, pd.concat([curve_rows(name, split, top_k, levels, **known[name]) for name, split in splits.items()])
    )
    logging.info("%s: GT-known %.1f", maps, dict(rows)["gt_known_loc"])


def measure(
    image: tuple[Record, np.ndarray], store: Maps, rules: Protocol, resize: int, crop: int, levels: list[float]
) -> Measured:
    record, truth = image
    boxes = boxes_in_crop(truth, (record.height, record.width), resize, crop, truncated=rules.truncated)
    planes = [enlarge(plane, crop) for plane in normalise(store[record.image_id].astype(np.float32), rules.epsilon)]
    mask = None if record.mask is None else object_mask(record.mask, resize, crop)
    return Measured(
        ious=np.stack([threshold_ious(plane, boxes, levels) for plane in planes]).astype(np.float32),
        contours=np.stack([contour_ious(plane, boxes) for plane in planes]).astype(np.float32),
        histograms=None if mask is None else np.stack([score_histograms(plane, mask) for plane in planes]),
    )


def object_mask(path: Path, resize: int, crop: int) -> np.ndarray:
    """The central crop of an object's mask: uint8 [crop, crop], 1 on the object."""
    grey = cv2.resize(read_image(path)[..., 0], (resize, resize), interpolation=cv2.INTER_NEAREST)
    start = round((resize - crop) / 2)
    return (grey[start : start + crop, start : start + crop] >= OBJECT).astype(np.uint8)


def gathered(measured: list[Measured], records: list[Record], scores: Maps) -> Split:
    classes = np.array([record.classes[0] - 1 for record in records])
    has_masks = all(one.histograms is not None for one in measured)
    return Split(
        ious=np.stack([one.ious for one in measured]),
        contours=np.stack([one.contours for one in measured]),
        histograms=sum(one.histograms for one in measured) if has_masks else None,
        ranks=ranks(np.stack([scores[record.image_id][1] for record in records]), classes),
        classes=classes,
    )


def split_rules(split: Split, rules: Protocol, by_class: bool) -> dict:
    """What a protocol counts as a hit, and the classes that it averages over, if it does."""
    return {"strict": rules.strict, "classes": split.classes if by_class else None}


def authors_choice(ious: np.ndarray, top_k: list[int], levels: list[float], setting: dict, **known) -> tuple[int, int]:
    """Positions of top-k and threshold: those of `setting` and, where it has none, the best for ious [N, K, T]."""
    planes = [k for k, value in enumerate(top_k) if setting["top_k"] in (None, value)]
    places = [t for t, value in enumerate(levels) if setting["threshold"] in (None, value)]
    k, threshold = best_setting(ious[:, planes][:, :, places], **known)
    return planes[k], places[threshold]


def localization_scores(
    split: Split, k: int, threshold: int, grey: list[int] | None, *, strict: bool, classes: np.ndarray | None
) -> dict[str, float]:
    """The metrics at one k and threshold (positions) and, for MaxBoxAccV2, the grey levels, or None for the best."""
    ious = split.ious[:, k, threshold]
    right = hits(ious, strict=strict)
    found = {
        "top1_loc": accuracy(right & (split.ranks < 1), classes),
        "top5_loc": accuracy(right & (split.ranks < 5), classes),
        "gt_known_loc": accuracy(right, classes),
        "maxboxaccv2": max_box_accuracy(split.contours[:, k], grey),
        "maxboxaccv2_printed": printed_box_accuracy(ious),
    }
    if split.histograms is not None:
        found["pxap"], found["piou"] = pixel_scores(split.histograms[k])
    return found


def curve_rows(
    name: str, split: Split, top_k: list[int], levels: list[float], *, strict: bool, classes: np.ndarray | None
) -> pd.DataFrame:
    known = accuracy(hits(split.ious, strict=strict), classes)
    grid = [(name, k, level, known[i, j]) for i, k in enumerate(top_k) for j, level in enumerate(levels)]
    return pd.DataFrame(grid, columns=["split", "top_k", "threshold", "gt_known_loc"])


def write_table(path: str, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
