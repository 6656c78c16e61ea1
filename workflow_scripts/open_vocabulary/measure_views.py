"""Measure the health of ZeroSeg's training: whether segments differ.

In: shards, features of the views, a checkpoint.
Out: metrics of one batch of training images.
"""

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from maskmill.data.shards import Shards
from maskmill.data.views import ViewedImages
from maskmill.methods.group_vit import segments_used
from maskmill.methods.zeroseg import matching_loss, segment_cosine, view_distances, view_entropy
from maskmill.networks.device import inference_device
from maskmill.networks.zeroseg import ZeroSeg
from maskmill.storage.atomic import atomic_path
from maskmill.storage.checkpoints import load_network
from maskmill.storage.features import Features
from maskmill.training.loop import batch_indices
from maskmill.workflow import stage

PART = 100  # images per pass without masks


@torch.no_grad()
def main(
    shards: list[str], features: list[str], checkpoint: str, views_table: str, health_images: int, seed: int = 0
) -> None:
    """Measure the segments of one batch.

    Args:
        shards: webdataset tar files of images; the index of each lies beside it.
        features: HDF5 files of view features, one per shard, as `cache_views.py` writes them.
        checkpoint: safetensors file of a trained `ZeroSeg`.
        views_table: CSV to write, with columns metric, class_name and value. With fixed masks, as in training:
            view_entropy (nat) of the views that segments are nearest to, segment_cosine between the segments of an
            image, loss_matching (mean over dimensions). Without masks: segments_used (mean per image), segments_entropy
            (nat; of the segments' shares of the patches).
        health_images: number of images in the batch.
    """
    device = inference_device()
    model = load_network(checkpoint, ZeroSeg).to(device)
    stores, side = [Features(path) for path in features], model.arguments["image_size"]
    dataset = ViewedImages(Shards(shards), stores, side, model.mean, model.std)
    rng = np.random.default_rng(seed)
    batch = default_collate(
        [dataset.sample(index, rng) for index in batch_indices(len(dataset), health_images, seed, 0)]
    )
    noise = torch.rand(health_images, model.patches, generator=torch.Generator().manual_seed(seed))
    pixels = batch["image"].to(device)
    segments = model(pixels, noise.to(device))["segments"]
    matching, nearest = matching_loss(view_distances(segments, batch["views"].to(device)))
    # In parts: without masks the published network needs more than twice the memory.
    shares = torch.cat([model.describe(part)[0] for part in pixels.split(PART)])
    used, sizes_entropy = segments_used(shares)
    rows = {
        "view_entropy": view_entropy(nearest, batch["views"].shape[1]),
        "segment_cosine": segment_cosine(segments),
        "loss_matching": matching,
        "segments_used": used,
        "segments_entropy": sizes_entropy,
    }
    with atomic_path(views_table) as path:
        pd.DataFrame([{"metric": m, "class_name": "", "value": v.item()} for m, v in rows.items()]).to_csv(
            path, index=False
        )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
