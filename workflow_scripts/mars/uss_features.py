"""Compute unsupervised semantic features, averaged over several scales and the mirrored image.

In: index, id list, STEGO's head, weights of the frozen extractor.
Out: features.
Source: `core/uss/__init__.py` of shjo-april/DHR, by MARS's first author.
"""

import torch

from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index, shard
from maskmill.data.transforms import network_input
from maskmill.networks.device import inference_device
from maskmill.networks.frozen_features import frozen_features, multi_scale_features
from maskmill.networks.stego import StegoHead
from maskmill.progress import progress
from maskmill.storage.checkpoints import load_network
from maskmill.storage.maps import create_maps
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    checkpoint: str,
    maps: str,
    features: str,
    scales: list[float],
    grid_scale: float,
    scatteritem: str = "1-of-1",
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Compute the features of the images of one part.

    Args:
        checkpoint: safetensors file of the trained `StegoHead`.
        maps: map store to write: features float16 [D, h, w], on the extractor's grid at `grid_scale`.
        features: frozen extractor: dino_vitb8, efficientnet_lite0 or filter_bank.
        grid_scale: scale whose grid the features are stored on; 2.0 takes four times the storage of 1.0.
        weights: safetensors file with published weights of the extractor; none: random weights.
    """
    records, device = read_index(index), inference_device()
    extract = frozen_features(features, next(iter(weights), None)).to(device)
    head = load_network(checkpoint, StegoHead).to(device)
    parameters = {"features": features, "scales": scales, "grid_scale": grid_scale}
    with create_maps(maps, "features", producer="uss_features", parameters=parameters, inputs=[checkpoint]) as store:
        for image_id in progress(shard(read_ids(ids), scatteritem), f"features {scatteritem}"):
            image = read_image(records[image_id].image, short_side)
            pixels = network_input(image, extract.mean, extract.std)[0].to(device)
            codes = multi_scale_features(extract, head, pixels, scales=scales, grid_scale=grid_scale)
            store.write(image_id, codes.half().cpu().numpy())


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
