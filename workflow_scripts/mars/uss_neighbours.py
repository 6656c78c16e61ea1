"""Nearest neighbours among the five crops of all training images (STEGO; spec 3.2).

In: index, id list, optionally the frozen extractor's weights. Out: safetensors with `neighbours`, int64 [5 N, k]: crop
number 5 i + j is crop j of image i of the list, nearest first.
"""

import torch

from maskmill.data.crops import crop_pixels, five_crop
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index
from maskmill.data.transforms import network_input
from maskmill.methods.stego import nearest_neighbours
from maskmill.networks.device import inference_device
from maskmill.networks.frozen_features import frozen_features
from maskmill.progress import progress
from maskmill.storage.checkpoints import save_tensors
from maskmill.workflow import stage


@torch.inference_mode()
def main(
    index: str,
    ids: str,
    neighbours: str,
    features: str,
    resolution: int,
    crop_ratio: float,
    k: int,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    records, device = read_index(index), inference_device()
    extract = frozen_features(features, next(iter(weights), None)).to(device)
    pooled = []
    for image_id in progress(read_ids(ids), "neighbours"):
        image = read_image(records[image_id].image, short_side)
        crops = [crop_pixels(image, box) for box in five_crop(*image.shape[:2], crop_ratio)]
        pixels = [network_input(crop, extract.mean, extract.std, (resolution, resolution)) for crop in crops]
        pooled.append(extract(torch.cat(pixels).to(device)).mean(dim=(2, 3)))
    save_tensors(neighbours, {"neighbours": nearest_neighbours(torch.cat(pooled), k)}, {"features": features})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
