"""Compute localisation maps and class scores.

In: index, id lists, a trained `BASLocalizer`.
Out: maps for several k, so that a search over threshold and k needs no forward pass; class scores; optionally maps of
whole images.
Source: `WSOL/evaluator.py` of wpy1999/BAS-Extension.
"""

from contextlib import ExitStack
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
    whole_maps: str | None = None,
) -> None:
    """Compute the maps and class scores of the images of one part.

    Args:
        ids: text files with the ids of the images to work on, one per line.
        checkpoint: safetensors file of a trained `BASLocalizer`.
        maps: map store to write: per image float16 [K, h, w] of the central crop, one plane per value of `top_k`, which
            is an attribute of the store.
        scores: map store to write: per image float32 [2, C] in 0..1, softmax of the central crop, and its mean over ten
            crops (four corners and the centre, and the same of the mirrored image).
        variant: bas (maps of the generator) or cam (class activation maps of the same network's head).
        top_k: 1 is the map of the true class, as in the released code; k > 1 is the mean of the maps of the k likeliest
            classes.
        whole_maps: map store to write: as `maps`, but of the whole image, which is resized to the size of the crop.
    """
    records = read_index(index)
    device = inference_device()
    network = load_network(checkpoint, BASLocalizer).to(device)
    parameters = {"variant": variant, "resize": resize, "crop": crop, "top_k": top_k}
    origin = {"producer": "localize", "parameters": parameters, "inputs": [checkpoint]}
    image_ids = shard(list(chain(*map(read_ids, ids))), scatteritem)
    with ExitStack() as stack:
        map_store = stack.enter_context(create_maps(maps, "cam", **origin))
        score_store = stack.enter_context(create_maps(scores, "probability", **origin))
        whole_store = None if whole_maps is None else stack.enter_context(create_maps(whole_maps, "cam", **origin))
        for image_id in progress(image_ids, f"localize {variant} {scatteritem}"):
            image, label = read_image(records[image_id].image), records[image_id].classes[0] - 1
            crops = ten_crops(image, resize, crop, network.mean, network.std).to(device)
            logits, *planes = network.predict(crops)
            centre = [part[CENTRE : CENTRE + 1] for part in (logits, *planes)]
            map_store.write(image_id, chosen_maps(*centre, label, variant, top_k), top_k=top_k)
            softmax = logits.softmax(dim=1)
            score_store.write(image_id, torch.stack([softmax[CENTRE], softmax.mean(dim=0)]).cpu().numpy())
            if whole_store is not None:
                whole = normalise(to_tensor(squared(image, crop)), network.mean, network.std)[None].to(device)
                of_whole = chosen_maps(*network.predict(whole), label, variant, top_k)
                whole_store.write(image_id, of_whole, top_k=top_k)


def chosen_maps(
    logits: torch.Tensor,
    generated: torch.Tensor,
    activations: torch.Tensor,
    label: int,
    variant: str,
    top_k: list[int],
) -> np.ndarray:
    """The maps that `top_k` asks for, float16 [K, h, w], of what `BASLocalizer.predict` says of one crop."""
    planes = generated if variant == "bas" else activations
    classes = torch.tensor([label], device=logits.device)
    selected = [selected_map(planes, logits, classes, min(k, len(logits[0])))[0] for k in top_k]
    return torch.stack(selected).half().cpu().numpy()


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
