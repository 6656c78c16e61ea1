"""Predict labels: the argmax of a segmentation network, of the whole image or of sliding windows.

In: index, id list, checkpoint.
Out: labels.
Source: the evaluation of MGD's released code sums the logits of windows whose step is 2/3 of their side.
"""

import numpy as np
import torch
from torch.nn import functional as F

from maskmill.choices import check_choice
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input
from maskmill.networks.device import inference_device
from maskmill.networks.segmentation import load_segmentation, logits_of
from maskmill.networks.sliding import sliding_logits
from maskmill.progress import progress
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    maps: str,
    window: int | None = None,
    margin: str = "official",
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Label the images of one part.

    Args:
        checkpoint: safetensors file of a trained segmentation network.
        maps: map store to write: labels uint8 [H, W] at the working size.
        window: pixels; side of the sliding windows; null: the whole image at once.
        margin: of images of which only one side is shorter than the window: `official` is black, `mean` has the mean
            colour, as where both sides are shorter and as in training.
    """
    check_choice("margin", margin, ("official", "mean"))
    records, device = read_index(index), inference_device()
    model = load_segmentation(checkpoint).to(device)
    mean, std = model.backbone.mean, model.backbone.std
    black = network_input(np.zeros((1, 1, 3), np.uint8), mean, std).to(device) if margin == "official" else None
    origin = {"producer": "predict_labels", "parameters": {"window": window}, "inputs": [checkpoint]}
    with create_maps(maps, "label", **origin) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"labels {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            pixels = network_input(image, mean, std).to(device)
            if window is None:
                logits = F.interpolate(logits_of(model, pixels), image.shape[:2], mode="bilinear")
            else:
                logits = sliding_logits(lambda x: logits_of(model, x), pixels, window, black=black)
            store.write(image_id, logits[0].argmax(dim=0).byte().cpu().numpy())


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
