"""One picture of what BAS does to boxes, and of why (spec weakly_supervised 4.1).

In: index, boxes, id list, checkpoint of the classifier that the variant `cam` is, per variant the store of maps and
the table of scores with its threshold and top-k. Out: `picture`, PNG, a row per image (image, CAM box, BAS box, each
against the true box), below them `activations`, CSV with columns share, cross_entropy, activation: what a trained
classifier says when it sees no more of an image than a mask, which grows from the object's middle over the object
(share 1) and beyond. Its cross entropy is low before the mask covers the object; its activation goes on rising: BAS
learns from that.
Params: `resize`, `crop`, sides in pixels that the maps were made with; `images`, rows of the picture.
"""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from maskmill.data.images import read_image
from maskmill.data.index import Record, read_ids, read_index
from maskmill.data.localization import read_boxes, squared
from maskmill.data.transforms import network_input
from maskmill.evaluation.localization import PROTOCOLS, Protocol, boxes_in_crop, enlarge, largest_box, normalise
from maskmill.networks.bas import BASLocalizer
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.reporting.localization import BoxRow, draw_boxes
from maskmill.storage.atomic import atomic_path
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import open_maps
from maskmill.workflow import stage

SHARES = np.concatenate([np.linspace(0.05, 1, 20), np.linspace(1.1, 3, 20)])
CURVE_IMAGES = 100  # that the curve is the mean of


def main(
    boxset: str,
    index: str,
    boxes: str,
    ids: str,
    checkpoint: str,
    cam: str,
    bas: str,
    cam_scores: str,
    bas_scores: str,
    picture: str,
    activations: str,
    resize: int,
    crop: int,
    images: int,
    scale: str,
    protocol: str,
) -> None:
    rules = PROTOCOLS[protocol]
    records, truth, chosen = read_index(index), read_boxes(boxes), read_ids(ids)
    stores = {"CAM": open_maps(cam), "BAS": open_maps(bas)}
    settings = {"CAM": setting_of(cam_scores), "BAS": setting_of(bas_scores)}
    rows = []
    for image_id in evenly(chosen, images):
        record = records[image_id]
        row = BoxRow(
            image_id.split("__")[-1], cropped(record, resize, crop), in_crop(truth, record, resize, crop, rules), {}, {}
        )
        for method, store in stores.items():
            threshold, top_k = settings[method]
            plane = list(store.attributes_of(image_id)["top_k"]).index(top_k)
            row.maps[method] = enlarge(normalise(store[image_id][plane].astype(np.float32), rules.epsilon), crop)
            row.boxes[method] = largest_box(row.maps[method], threshold)
        rows.append(row)
    network = load_network(checkpoint, BASLocalizer).to(inference_device())
    curve = activation_curve(network, [records[i] for i in evenly(chosen, CURVE_IMAGES)], truth, resize, crop, rules)
    with atomic_path(activations) as path:
        curve.to_csv(path, index=False)
    draw_boxes(rows, curve, picture, f"{boxset}, scale {scale}: true boxes green, found boxes red")


def setting_of(scores_table: str) -> tuple[float, int]:
    """Threshold and top-k of a table of scores."""
    values = pd.read_csv(scores_table, index_col="metric")["value"]
    return float(values["threshold"]), int(values["top_k"])


def evenly(ids: list[str], count: int) -> list[str]:
    """So many of the ids, spread over the list."""
    return [ids[position] for position in np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)]


def cropped(record: Record, resize: int, crop: int) -> np.ndarray:
    """What a network sees of an image: the central crop, uint8 [crop, crop, 3]."""
    start = round((resize - crop) / 2)
    return squared(read_image(record.image), resize)[start : start + crop, start : start + crop]


def in_crop(truth: dict[str, np.ndarray], record: Record, resize: int, crop: int, rules: Protocol) -> np.ndarray:
    size = record.height, record.width
    return boxes_in_crop(truth[record.image_id], size, resize, crop, truncated=rules.truncated)


@torch.inference_mode()
def activation_curve(
    network: BASLocalizer,
    records: list[Record],
    truth: dict[str, np.ndarray],
    resize: int,
    crop: int,
    rules: Protocol,
) -> pd.DataFrame:
    """Means over images of the cross entropy and of the activation S, as a share of the whole image's, when all pixels
    outside the true box, scaled to each of `SHARES` of its area, have the mean colour."""
    device = next(network.parameters()).device
    entropies, seen, whole = [], [], []
    for record in progress(records, "activation"):
        image = network_input(cropped(record, resize, crop), network.mean, network.std)
        masks = torch.from_numpy(
            np.stack([scaled_box(in_crop(truth, record, resize, crop, rules)[0], s, crop) for s in SHARES])
        )
        logits = network.predict(torch.cat([image * masks[:, None], image]).to(device))[0].cpu()
        label = torch.tensor(record.classes[0] - 1)
        entropies.append(F.cross_entropy(logits[:-1], label.expand(len(SHARES)), reduction="none"))
        seen.append(logits[:-1, label].relu())
        whole.append(logits[-1, label].relu())
    share = torch.stack(seen).mean(dim=0) / torch.stack(whole).mean().clamp_min(1e-8)
    return pd.DataFrame({"share": SHARES, "cross_entropy": torch.stack(entropies).mean(dim=0), "activation": share})


def scaled_box(box: np.ndarray, share: float, side: int) -> np.ndarray:
    """bool [side, side], true in a box of `share` times a box's area around the same middle."""
    half, middle = (box[2:] - box[:2] + 1) / 2 * share**0.5, (box[2:] + box[:2]) / 2
    y, x = np.mgrid[:side, :side]
    return (abs(x - middle[0]) <= half[0]) & (abs(y - middle[1]) <= half[1])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
