"""Localisation maps and class scores of one shard's images (spec weakly_supervised 4.4).

In: a trained `BASLocalizer`, index, id lists. Out, both for the images resized to `resize` x `resize` pixels: `maps`,
kind `cam`: float16 [len(top_k), h, w] of the central crop, a plane for each k of attribute `top_k`: for 1 the map of
the true class, as in the released code, else the mean of the maps of the k likeliest classes; so that neither
thresholds nor k need another forward pass. `scores`, kind `probability`: float32 [2, C], softmax of the central crop,
and its mean over ten crops (corners, centre, and all mirrored).
Params: `variant`, whose maps: `bas`, the generator's, or `cam`, the class activation maps of the same network's head.
"""

from itertools import chain

import numpy as np
import torch

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.localization import squared
from maskmill.data.transforms import normalise, to_tensor
from maskmill.methods.bas import selected_map
from maskmill.networks.bas import BASLocalizer
from maskmill.networks.device import inference_device
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage

CENTRE = 4  # position of the central crop among the ten


@torch.inference_mode()
def main(
    index: str,
    ids: list[str],
    checkpoint: str,
    maps: str,
    scores: str,
    variant: str,
    resize: int,
    crop: int,
    top_k: list[int],
    scatteritem: str = "1-of-1",
) -> None:
    records = read_index(index)
    device = inference_device()
    network = load_network(checkpoint, BASLocalizer).to(device)
    parameters = {"variant": variant, "resize": resize, "crop": crop, "top_k": top_k}
    about = {"producer": "localize", "parameters": parameters, "inputs": [checkpoint]}
    chosen = shard(list(chain(*map(read_ids, ids))), scatteritem)
    with create_maps(maps, "cam", **about) as map_store, create_maps(scores, "probability", **about) as score_store:
        for image_id in progress(chosen, f"localize {variant} {scatteritem}"):
            crops = ten_crops(read_image(records[image_id].image), resize, crop, network.mean, network.std)
            logits, generated, activations = network.predict(crops.to(device))
            planes = generated if variant == "bas" else activations
            centre = slice(CENTRE, CENTRE + 1)
            label = torch.tensor([records[image_id].classes[0] - 1], device=device)
            selected = [selected_map(planes[centre], logits[centre], label, min(k, len(logits[0])))[0] for k in top_k]
            softmax = logits.softmax(dim=1)
            map_store.write(image_id, torch.stack(selected).half().cpu().numpy(), top_k=top_k)
            score_store.write(image_id, torch.stack([softmax[CENTRE], softmax.mean(dim=0)]).cpu().numpy())


def ten_crops(image: np.ndarray, resize: int, crop: int, mean, std) -> torch.Tensor:
    """uint8 [H, W, 3], resized (aspect is not kept), as ten normalised crops [10, 3, crop, crop]: four corners and the
    centre, then the same of the mirror image."""
    pixels = squared(image, resize)
    far, middle = resize - crop, round((resize - crop) / 2)
    starts = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    both = (pixels, np.ascontiguousarray(pixels[:, ::-1]))
    windows = [side[top : top + crop, left : left + crop] for side in both for top, left in starts]
    return torch.stack([normalise(to_tensor(window), mean, std) for window in windows])


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
