"""Pseudo labels: the seeds walk to where no class boundary stops them (spec 2.6).

In: index, id list, map store of kind `cam`, IRNet. Out: map store of kind `label`, uint8 [H, W] at working size.
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
    background: float,
    cam_power: float,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
) -> None:
    records, seeds, device = read_index(index), open_maps(cams), inference_device()
    irn = load_network(checkpoint, IRNet).to(device)
    parameters = {"walk": walk, "background": background, "cam_power": cam_power}
    with create_maps(maps, "label", producer="random_walk", parameters=parameters, inputs=[cams, checkpoint]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"random walk {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            pixels = network_input(image, irn.backbone.mean, irn.backbone.std).to(device)
            edge = edge_map(irn, pixels, crop_size).cpu().numpy()
            walked = random_walk(seeds[image_id].astype(np.float32) ** cam_power, edge, **walk)
            classes = seeds.attributes_of(image_id)["classes"]
            store.write(image_id, walk_labels(walked, classes, image.shape[:2], background))


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
