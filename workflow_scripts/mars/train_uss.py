"""Train STEGO's head on frozen features.

In: index, id list, nearest neighbours, optionally the extractor's weights. Out: a checkpoint of `StegoHead`.
"""

import torch

from maskmill.data.index import read_ids, read_index
from maskmill.data.neighbours import NeighbourPairs
from maskmill.methods.stego import encode, stego_loss
from maskmill.networks.frozen_features import frozen_features
from maskmill.networks.stego import StegoHead
from maskmill.storage.checkpoints import load_tensors
from maskmill.training.run import TrainingRun
from maskmill.training.schedules import constant
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    neighbours: str,
    features: str,
    dim: int,
    resolution: int,
    crop_ratio: float,
    k: int,
    dropout: float,
    loss: dict,
    lr: float,
    views: str,
    run: TrainingRun,
    short_side: int | None = None,
    weights: list[str] = (),
) -> None:
    """Train the head.

    Args:
        neighbours: safetensors file with the nearest neighbours of each crop.
        features: frozen network that the head is trained on.
        dim: channels that the head returns.
        resolution: side of the training crops, in pixels.
        crop_ratio: side of the five crops of an image, in units of the image's side.
        k: nearest neighbours of a crop that its partner is drawn from.
        dropout: share of the channels that are dropped, each as a whole.
        loss: keyword arguments of `stego_loss`.
        views: official or squeezed: how a crop becomes a square, see `square_view`.
    """
    indexed = read_index(index)
    torch.manual_seed(run.seed)
    extract = frozen_features(features, next(iter(weights), None))
    head = StegoHead(extract.channels, dim)
    pairs = NeighbourPairs(
        [indexed[image_id] for image_id in read_ids(ids)],
        load_tensors(neighbours)[0]["neighbours"],
        extract.mean,
        extract.std,
        k=k,
        resolution=resolution,
        crop_ratio=crop_ratio,
        views=views,
        short_side=short_side,
    )

    def step(head, batch):
        extract.to(batch["image"].device)
        draws = torch.default_generator  # the loop seeds it for every iteration
        views = [encode(head, extract(batch[name]), dropout=dropout, generator=draws) for name in ("image", "positive")]
        return stego_loss(*views[0], *views[1], **loss, generator=draws)

    groups = [{"params": head.parameters(), "lr": lr}]
    run.train(head, step, groups, pairs, schedule=constant, optimizer="adam")


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
