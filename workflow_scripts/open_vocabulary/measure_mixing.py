"""Measure the health of MixReorg's training: whether mixed patches find their captions, and whether segments differ.

In: shards of pairs, a checkpoint.
Out: means over batches of training pairs, with training's augmentation and batch statistics, and fixed random draws.
"""

import numpy as np
import pandas as pd
import torch
from torch.utils.data import default_collate

from maskmill.data.captioned import CaptionedImages, TimmAugmentation
from maskmill.data.captions import noun_finder
from maskmill.data.shards import Shards
from maskmill.methods.group_vit import segments_used
from maskmill.methods.mixreorg import Pretraining
from maskmill.networks.device import inference_device
from maskmill.networks.group_vit import GroupViT
from maskmill.storage.atomic import atomic_path
from maskmill.storage.checkpoints import load_network
from maskmill.training.loop import batch_indices
from maskmill.workflow import stage


@torch.no_grad()
def main(
    shards: list[str],
    checkpoint: str,
    mixing_table: str,
    augmentation: dict,
    nouns: dict,
    mixing: dict,
    batch_size: int,
    batches: int,
    seed: int = 0,
) -> None:
    """Measure the losses and segments of some batches.

    Args:
        shards: webdataset tar files of images and captions; the index of each lies beside it.
        checkpoint: safetensors file of a trained `GroupViT`.
        mixing_table: CSV to write, with columns metric, class_name and value. Metrics: mix_acc (percent; chance is 100
            / members), loss_original, loss_restored, loss_segmentation, segments_used (mean per image),
            segments_entropy (nat; of the segments' shares of the patches), pairs (number of training pairs).
        nouns: settings of nouns, as in config.yaml's `mixreorg.nouns`.
        mixing: keyword arguments of the mixing, as in config.yaml's `mixreorg.mixing`.
        batch_size: pairs per batch; `members` of the mixing divides it.
        batches: number of batches.
    """
    device = inference_device()
    model = load_network(checkpoint, GroupViT).train().to(device)
    images = CaptionedImages(
        Shards(shards),
        TimmAugmentation(model.mean, model.std, **augmentation),
        model.tokenizer,
        noun_finder(nouns["nltk_data"]),
        same_nouns=nouns["soft_targets"],
    )
    objective = Pretraining(model, soft_targets=nouns["soft_targets"], mixing={**mixing, "weight": 1.0})
    rows = []
    for number in range(batches):
        indices = batch_indices(len(images), batch_size, seed, number)
        rngs = (np.random.default_rng([seed, number, position]) for position in range(batch_size))
        batch = default_collate([images.sample(index, rng) for index, rng in zip(indices, rngs, strict=True)])
        torch.manual_seed(number)
        batch = {name: value.to(device) for name, value in batch.items()}
        losses, accuracy = objective.terms(batch)
        used, entropy = segments_used(model.encoder(batch["image"]).shares)
        row = {"mix_acc": 100 * accuracy, **{f"loss_{name}": loss for name, loss in losses.items()}}
        rows.append({k: v.item() for k, v in {**row, "segments_used": used, "segments_entropy": entropy}.items()})
    means = pd.DataFrame(rows).mean()
    means["pairs"] = len(images)
    with atomic_path(mixing_table) as path:
        pd.DataFrame({"metric": means.index, "class_name": "", "value": means.values}).to_csv(path, index=False)


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
