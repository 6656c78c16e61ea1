"""Whether ZeroSeg's segments differ: the health of its training (spec open_vocabulary 3.3, 9.4).

In: shards with their indices, the views of each, a checkpoint of `ZeroSeg`. Out: CSV with columns metric, class_name,
value, over one batch of training images. With fixed masks, as in training: view_entropy (nat) of the views that
segments are nearest to, segment_cosine between an image's segments, and loss_matching, the mean over the dimensions.
Unmasked: segments_used (a mean an image) and segments_entropy (of their shares of the patches, nat).
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

PART = 100  # images that are seen unmasked at a time


@torch.no_grad()
def main(shards: list[str], features: list[str], checkpoint: str, views_table: str, images: int, seed: int = 0) -> None:
    device = inference_device()
    model = load_network(checkpoint, ZeroSeg).to(device)
    stores, side = [Features(path) for path in features], model.arguments["image_size"]
    viewed = ViewedImages(Shards(shards), stores, side, model.mean, model.std)
    rng = np.random.default_rng(seed)
    batch = default_collate([viewed.sample(index, rng) for index in batch_indices(len(viewed), images, seed, 0)])
    noise = torch.rand(images, model.patches, generator=torch.Generator().manual_seed(seed))
    pixels = batch["image"].to(device)
    segments = model(pixels, noise.to(device))["segments"]
    matching, nearest = matching_loss(view_distances(segments, batch["views"].to(device)))
    # In parts: without its mask the published network holds more than twice as much.
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
