"""Turn class activation maps into pseudo labels by a random walk that class boundaries stop.

In: index, id list, class activation maps, IRNet.
Out: pseudo labels.
Source: `step/make_sem_seg_labels.py` and `propagate_to_edge` in `misc/indexing.py` of jiwoon-ahn/irn.
"""

import numpy as np
import torch

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input
from maskmill.networks.device import inference_device
from maskmill.networks.irn import IRNet, edge_map
from maskmill.progress import progress
from maskmill.refinement.random_walk import random_walk, walk_labels
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps, open_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    cams: str,
    checkpoint: str,
    maps: str,
    crop_size: int,
    walk: dict,
    walk_background: float,
    cam_power: float,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    """Label the images of one part.

    Args:
        checkpoint: safetensors file of the trained IRNet.
        maps: map store to write: labels uint8 [H, W] at the working size.
        crop_size: pixels; side of the square that an image is padded to for its edge map; a longer side is padded to
            a multiple of 16.
        walk: keyword arguments of `maskmill.refinement.random_walk.random_walk`: radius, beta, exp_times.
        walk_background: score in 0..1 of the background: pixels where no class exceeds it become background.
        cam_power: exponent of the activations before the walk.
    """
    records, seeds, device = read_index(index), open_maps(cams), inference_device()
    irn = load_network(checkpoint, IRNet).to(device)
    parameters = {"walk": walk, "background": walk_background, "cam_power": cam_power}
    with create_maps(maps, "label", producer="random_walk", parameters=parameters, inputs=[cams, checkpoint]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"random walk {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            pixels = network_input(image, irn.backbone.mean, irn.backbone.std).to(device)
            edge = edge_map(irn, pixels, crop_size).cpu().numpy()
            walked = random_walk(seeds[image_id].astype(np.float32) ** cam_power, edge, **walk)
            classes = seeds.attributes_of(image_id)["classes"]
            store.write(image_id, walk_labels(walked, classes, image.shape[:2], walk_background))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
