"""Find the nearest neighbours among five crops of every training image.

In: index, id list, weights of the frozen extractor.
Out: neighbours of every crop.
Source: STEGO (Hamilton et al., ICLR 2022), `src/configs/train_config.yml` of mhamilton723/STEGO.
"""

import torch

from maskmill.data.crops import crop_pixels, five_crop
from maskmill.data.images import read_image
from maskmill.data.index import read_ids, read_index
from maskmill.data.neighbours import square_view
from maskmill.data.transforms import network_input
from maskmill.methods.stego import channel_dropout, nearest_neighbours
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
    views: str,
    neighbour_dropout: float,
    seed: int,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Compare the crops of all images.

    Args:
        neighbours: safetensors file to write: `neighbours` int64 [5 N, k], nearest first; row 5 i + j is crop j of
            image i.
        features: frozen extractor: dino_vitb8, efficientnet_lite0 or filter_bank.
        resolution: pixels; side that a crop is resized to.
        crop_ratio: side of a crop over the image's side, in (0, 1].
        k: number of neighbours per crop.
        views: official or squeezed: how a crop becomes a square, see `square_view`.
        neighbour_dropout: share of each crop's channels that are dropped; the release searches with dropout active.
        weights: safetensors file with published weights of the extractor; none: random weights.
    """
    records, device = read_index(index), inference_device()
    extract = frozen_features(features, next(iter(weights), None)).to(device)
    draws = torch.Generator().manual_seed(seed)
    pooled = []
    for image_id in progress(read_ids(ids), "neighbours"):
        image = read_image(records[image_id].image, short_side)
        crops = [crop_pixels(image, box) for box in five_crop(*image.shape[:2], crop_ratio)]
        pixels = [network_input(square_view(crop, resolution, views), extract.mean, extract.std) for crop in crops]
        found = channel_dropout(extract(torch.cat(pixels).to(device)), neighbour_dropout, draws)
        pooled.append(found.mean(dim=(2, 3)))
    save_tensors(neighbours, {"neighbours": nearest_neighbours(torch.cat(pooled), k)}, {"features": features})


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
