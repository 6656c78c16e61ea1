"""Compute BAS's maps of the images' tags, summed over several scales and the mirrored image, as seeds.

In: index, id list, class activation maps of the classifier, BAS's network.
Out: maps in the form of class activation maps, and optionally the same at the working size.
Source: folder `WSSS` of wpy1999/BAS-Extension.
"""

from contextlib import ExitStack

import numpy as np
import torch

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input, scaled
from maskmill.methods.bas import fused
from maskmill.methods.cam import merge_scales
from maskmill.networks.bas import BASSeeds
from maskmill.networks.device import inference_device
from maskmill.progress import progress
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
    scales: list[float],
    add_cams: bool,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
    full_cams: str | None = None,
    full_maps: str | None = None,
) -> None:
    """Compute the maps of the images of one part.

    Args:
        checkpoint: safetensors file of the trained `BASSeeds`.
        maps: map store to write: per image float16 [k, ceil(H/4), ceil(W/4)] in 0..1, one plane per tag, each divided
            by its maximum; attribute `classes` holds the mask ids of the planes.
        add_cams: whether the classifier's maps are added to those of BAS, as the released code does.
        full_cams: map store of the classifier's maps [k, H, W], see `maskmill.methods.cam.merge_scales`.
        full_maps: map store to write, likewise of BAS's; needs `full_cams`.
    """
    records, device = read_index(index), inference_device()
    bas = load_network(checkpoint, BASSeeds).to(device)
    parameters = {"scales": scales, "add_cams": add_cams, "short_side": short_side}
    sets = [(maps, cams, False)]
    if full_maps is not None and full_cams is not None:
        sets.append((full_maps, full_cams, True))
    with ExitStack() as stack:
        stores = []
        for path, classifiers, full in sets:
            origin = {"producer": "bas_maps", "parameters": parameters, "inputs": [checkpoint, classifiers]}
            stores.append((stack.enter_context(create_maps(path, "cam", **origin)), open_maps(classifiers), full))
        for image_id in progress(shard(read_ids(ids), scatteritem), f"BAS maps {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            size, classes = image.shape[:2], records[image_id].classes
            inputs = (network_input(image, bas.mean, bas.std, scaled(size, s)).to(device) for s in scales)
            of_scales = [bas.cam(pixels) for pixels in inputs]
            for store, seeds, full in stores:
                merged = merge_scales(of_scales, size, classes, full=full).cpu()
                if add_cams:
                    merged = fused(torch.from_numpy(seeds[image_id].astype(np.float32)), merged)
                store.write(image_id, merged.half().numpy(), classes=classes)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
