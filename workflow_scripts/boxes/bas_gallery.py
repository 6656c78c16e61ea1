"""Draw what BAS does to boxes, and why.

BAS learns from this: what a classifier says of a masked image, as the mask grows from the object's middle over the
object and beyond. The cross entropy falls before the mask shows the whole object; the activation keeps rising.

In: index, boxes, id list, a trained classifier, maps and scores of the variants `cam` and `bas`.
Out: a picture with a row per image (image, CAM box, BAS box), and the curve of cross entropy and activation.
Source: BAS (Wu et al., CVPR 2022).
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
CURVE_IMAGES = 100  # the curve is their mean


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
    """Draw the picture and measure the curve.

    Args:
        boxes: CSV of the true boxes: image_id, x0, y0, x1, y1 in pixels of the file.
        checkpoint: safetensors file of the `BASLocalizer` that is the variant `cam`, the classifier of the curve.
        cam, bas: map store of the variant's localisation maps, as `localize.py` writes it.
        cam_scores, bas_scores: CSV of the variant's scores, which has its threshold and top-k.
        activations: CSV to write, with columns share (area of the mask over that of the box), cross_entropy, activation
            (over that of the whole image).
        images: number of rows of the picture.
        protocol: whose evaluation code boxes follow: ext or cvpr; see `maskmill.evaluation.localization`.
    """
    rules = PROTOCOLS[protocol]
    records, truth, image_ids = read_index(index), read_boxes(boxes), read_ids(ids)
    stores = {"CAM": open_maps(cam), "BAS": open_maps(bas)}
    settings = {"CAM": setting_of(cam_scores), "BAS": setting_of(bas_scores)}
    rows = []
    for image_id in evenly_spread(image_ids, images):
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
    curve = activation_curve(
        network, [records[i] for i in evenly_spread(image_ids, CURVE_IMAGES)], truth, resize, crop, rules
    )
    with atomic_path(activations) as path:
        curve.to_csv(path, index=False)
    draw_boxes(rows, curve, picture, f"{boxset}, scale {scale}: true boxes green, found boxes red")


def setting_of(scores_table: str) -> tuple[float, int]:
    """Threshold and top-k of a table of scores."""
    values = pd.read_csv(scores_table, index_col="metric")["value"]
    return float(values["threshold"]), int(values["top_k"])


def evenly_spread(ids: list[str], count: int) -> list[str]:
    """`count` of the ids, evenly spread over the list."""
    return [ids[position] for position in np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)]


def cropped(record: Record, resize: int, crop: int) -> np.ndarray:
    """The central crop of the resized image, which is the network's input: uint8 [crop, crop, 3]."""
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
    """Cross entropy and activation S of masked images, at each of `SHARES`; means over the images.

    The mask is the true box, scaled to that share of its area. Pixels outside it have the mean colour. The activation
    is relative to that of the whole image.
    """
    device = next(network.parameters()).device
    entropies, masked, unmasked = [], [], []
    for record in progress(records, "activation"):
        image = network_input(cropped(record, resize, crop), network.mean, network.std)
        masks = torch.from_numpy(
            np.stack([scaled_box(in_crop(truth, record, resize, crop, rules)[0], s, crop) for s in SHARES])
        )
        logits = network.predict(torch.cat([image * masks[:, None], image]).to(device))[0].cpu()
        label = torch.tensor(record.classes[0] - 1)
        entropies.append(F.cross_entropy(logits[:-1], label.expand(len(SHARES)), reduction="none"))
        masked.append(logits[:-1, label].relu())
        unmasked.append(logits[-1, label].relu())
    share = torch.stack(masked).mean(dim=0) / torch.stack(unmasked).mean().clamp_min(1e-8)
    return pd.DataFrame({"share": SHARES, "cross_entropy": torch.stack(entropies).mean(dim=0), "activation": share})


def scaled_box(box: np.ndarray, share: float, side: int) -> np.ndarray:
    """bool [side, side], true in a box of `share` times a box's area around the same middle."""
    half, middle = (box[2:] - box[:2] + 1) / 2 * share**0.5, (box[2:] + box[:2]) / 2
    y, x = np.mgrid[:side, :side]
    return (abs(x - middle[0]) <= half[0]) & (abs(y - middle[1]) <= half[1])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
