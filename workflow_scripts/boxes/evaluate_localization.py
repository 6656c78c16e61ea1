"""Score localisation maps against boxes and, where there are any, object masks.

Every localisation metric appears twice. Without a suffix, threshold and k are those of `setting`, which the authors
found on the images that they score; where `setting` has none, they are found here in the same way. MaxBoxAccV2 also
takes its best thresholds on the scored images, as the benchmark defines it. With the suffix `_heldout`, all of them are
chosen on the held-out images.

In: index, boxes, id lists, maps and class scores of the scored and of the held-out images; optionally maps of whole
images, on which PxAP and pIoU are then measured.
Out: scores, and GT-known localisation at every threshold and k.
Source: `WSOL/evaluator.py` of wpy1999/BAS-Extension, and the evaluation of wpy1999/BAS.
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
    """What is measured on the K maps of one image.

    Attributes:
        ious: IoU of the box at each of T thresholds with the true box, float32 [K, T].
        contours: IoU of the best contour at each of 255 grey levels, float32 [K, 255].
        histograms: scores over object and background, int64 [K, 2, 1002]; None where the object has no mask.
    """

    ious: np.ndarray
    contours: np.ndarray
    histograms: np.ndarray | None


class Split(NamedTuple):
    """What is measured on the N images of a split.

    Attributes:
        ious: see `Measured`, float32 [N, K, T].
        contours: see `Measured`, float32 [N, K, 255].
        histograms: sums over the images; None where an object has no mask.
        ranks: number of classes that score higher than the true one by ten crops, int [N].
        classes: the true classes, int [N] in 0..C-1.
    """

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
    whole_maps: str | None = None,
) -> None:
    """Score the maps of one variant.

    Args:
        boxes: CSV of the true boxes: image_id, x0, y0, x1, y1 in pixels of the file.
        ids: text file with the ids of the images to score, one per line.
        heldout: text file with the ids of the held-out images, one per line; it may be empty.
        maps: map store of localisation maps, as `localize.py` writes it.
        scores: map store of class scores, as `localize.py` writes it.
        scores_table: CSV to write, with columns metric, class_name and value (percent; `threshold` and `top_k` in their
            own units).
        curve: CSV to write, with columns split, top_k, threshold and gt_known_loc (percent).
        protocol: whose evaluation code scores follow: ext or cvpr; see `maskmill.evaluation.localization`.
        thresholds: thresholds to try on maps normalised to 0..1: first, end (not included), step.
        setting: threshold and top_k (one of the maps'); null: the best ones on the scored images.
        whole_maps: map store of localisation maps of whole images, as `localize.py` writes it, for PxAP and pIoU as
            `WSOL/count_pxap.py` has them, where all grey of a mask is object; none: these are measured on the crop.
    """
    rules, store = PROTOCOLS[protocol], open_maps(maps)
    top_k = json.loads(store.attributes["parameters"])["top_k"]
    levels = sorted({*np.arange(*thresholds).round(4), *filter(None, [setting["threshold"]])})
    whole = None if whole_maps is None else open_maps(whole_maps)
    measure_one = partial(measure, store=store, whole=whole, rules=rules, resize=resize, crop=crop, levels=levels)
    records, truth = read_index(index), read_boxes(boxes)
    splits = {}
    for name, path in (("val", ids), ("heldout", heldout)):
        images = [(records[image_id], truth[image_id]) for image_id in read_ids(path)]
        if images:
            measured = list(in_processes(measure_one, images, threads, f"evaluate {name}"))
            splits[name] = stacked(measured, [record for record, _ in images], open_maps(scores))

    by_class = rules.class_means and boxset == "cub"
    hit_rules = {name: split_rules(split, rules, by_class) for name, split in splits.items()}
    val = splits["val"]
    rows = [("top1_cls", accuracy(val.ranks < 1)), ("top5_cls", accuracy(val.ranks < 5))]
    choices = {"": (*authors_choice(val.ious, top_k, levels, setting, **hit_rules["val"]), None)}
    if "heldout" in splits:
        k, threshold = best_setting(splits["heldout"].ious, **hit_rules["heldout"])
        choices["_heldout"] = (k, threshold, best_levels(splits["heldout"].contours[:, k]))
    for suffix, (k, threshold, grey) in choices.items():
        values = localization_scores(val, k, threshold, grey, **hit_rules["val"])
        values |= {"threshold": levels[threshold], "top_k": top_k[k]}
        rows += [(metric + suffix, value) for metric, value in values.items()]
    write_table(scores_table, pd.DataFrame(rows, columns=["metric", "value"]).assign(class_name=""))
    write_table(
        curve, pd.concat([curve_rows(name, split, top_k, levels, **hit_rules[name]) for name, split in splits.items()])
    )
    logging.info("%s: GT-known %.1f", maps, dict(rows)["gt_known_loc"])


def measure(
    image: tuple[Record, np.ndarray],
    store: Maps,
    whole: Maps | None,
    rules: Protocol,
    resize: int,
    crop: int,
    levels: list[float],
) -> Measured:
    record, truth = image
    boxes = boxes_in_crop(truth, (record.height, record.width), resize, crop, truncated=rules.truncated)
    planes = [enlarge(plane, crop) for plane in normalise(store[record.image_id].astype(np.float32), rules.epsilon)]
    return Measured(
        ious=np.stack([threshold_ious(plane, boxes, levels) for plane in planes]).astype(np.float32),
        contours=np.stack([contour_ious(plane, boxes) for plane in planes]).astype(np.float32),
        histograms=None if record.mask is None else pixel_histograms(record, planes, whole, rules, resize, crop),
    )


def pixel_histograms(
    record: Record, planes: list[np.ndarray], whole: Maps | None, rules: Protocol, resize: int, crop: int
) -> np.ndarray:
    """Scores over object and background, int64 [K, 2, 1002], on the crop or, if there are such maps, on the whole."""
    if whole is None:
        mask = object_mask(record.mask, resize, crop, OBJECT)
    else:
        mask = object_mask(record.mask, crop, crop, 1)
        planes = [enlarge(plane, crop) for plane in normalise(whole[record.image_id].astype(np.float32), rules.epsilon)]
    return np.stack([score_histograms(plane, mask) for plane in planes])


def object_mask(path: Path, resize: int, crop: int, least: int) -> np.ndarray:
    """The central crop of an object's mask: uint8 [crop, crop], 1 on the object, whose grey is at least `least`."""
    grey = cv2.resize(read_image(path)[..., 0], (resize, resize), interpolation=cv2.INTER_NEAREST)
    start = round((resize - crop) / 2)
    return (grey[start : start + crop, start : start + crop] >= least).astype(np.uint8)


def stacked(measured: list[Measured], records: list[Record], scores: Maps) -> Split:
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
    """What a protocol counts as a hit, and, where it averages over classes, the class of every image."""
    return {"strict": rules.strict, "classes": split.classes if by_class else None}


def authors_choice(ious: np.ndarray, top_k: list[int], levels: list[float], setting: dict, **rules) -> tuple[int, int]:
    """Positions of top-k and threshold: those of `setting` and, where it has none, the best for ious [N, K, T]."""
    planes = [k for k, value in enumerate(top_k) if setting["top_k"] in (None, value)]
    places = [t for t, value in enumerate(levels) if setting["threshold"] in (None, value)]
    k, threshold = best_setting(ious[:, planes][:, :, places], **rules)
    return planes[k], places[threshold]


def localization_scores(
    split: Split, k: int, threshold: int, grey: list[int] | None, *, strict: bool, classes: np.ndarray | None
) -> dict[str, float]:
    """The metrics at one k and one threshold, which are positions in their lists.

    Args:
        grey: the grey levels of MaxBoxAccV2; None: the best ones.
    """
    ious = split.ious[:, k, threshold]
    localised = hits(ious, strict=strict)
    values = {
        "top1_loc": accuracy(localised & (split.ranks < 1), classes),
        "top5_loc": accuracy(localised & (split.ranks < 5), classes),
        "gt_known_loc": accuracy(localised, classes),
        "maxboxaccv2": max_box_accuracy(split.contours[:, k], grey),
        "maxboxaccv2_printed": printed_box_accuracy(ious),
    }
    if split.histograms is not None:
        values["pxap"], values["piou"] = pixel_scores(split.histograms[k])
    return values


def curve_rows(
    name: str, split: Split, top_k: list[int], levels: list[float], *, strict: bool, classes: np.ndarray | None
) -> pd.DataFrame:
    hit_rates = accuracy(hits(split.ious, strict=strict), classes)
    grid = [(name, k, level, hit_rates[i, j]) for i, k in enumerate(top_k) for j, level in enumerate(levels)]
    return pd.DataFrame(grid, columns=["split", "top_k", "threshold", "gt_known_loc"])


def write_table(path: str, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
