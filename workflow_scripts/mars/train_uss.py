"""Train STEGO's head on frozen features (spec 3.2).

In: index, id list, nearest neighbours, optionally the extractor's weights. Out: a checkpoint of `StegoHead`.
"""

import torch

from maskmill.data.index import read_ids, read_index
from maskmill.data.neighbours import NeighbourPairs
from maskmill.methods.stego import encode, stego_loss
from maskmill.networks.frozen_features import frozen_features
from maskmill.networks.stego import StegoHead
from maskmill.storage.checkpoints import load_tensors
from maskmill.training.loop import train
from maskmill.training.schedules import constant
from maskmill.workflow import stage


def main(
    index: str,
    ids: str,
    neighbours: str,
    checkpoint: str,
    features: str,
    dim: int,
    resolution: int,
    crop_ratio: float,
    k: int,
    dropout: float,
    loss: dict,
    lr: float,
    batch_size: int,
    iterations: int,
    training: dict,
    max_iterations: int | None = None,
    seed: int = 0,
    short_side: int | None = None,
    weights: list[str] = (),
    run: str = "by hand",
) -> None:
    records = read_index(index)
    torch.manual_seed(seed)
    extract = frozen_features(features, next(iter(weights), None))
    head = StegoHead(extract.channels, dim)
    pairs = NeighbourPairs(
        [records[i] for i in read_ids(ids)],
        load_tensors(neighbours)[0]["neighbours"],
        extract.mean,
        extract.std,
        k=k,
        resolution=resolution,
        crop_ratio=crop_ratio,
        short_side=short_side,
    )

    def step(head, batch):
        extract.to(batch["image"].device)
        draws = torch.default_generator  # the loop seeds it for every iteration
        views = [encode(head, extract(batch[name]), dropout=dropout, generator=draws) for name in ("image", "positive")]
        return stego_loss(*views[0], *views[1], **loss, generator=draws)

    train(
        head,
        step,
        torch.optim.Adam(head.parameters(), lr=lr),
        constant,
        pairs,
        checkpoint=checkpoint,
        run=run,
        iterations=min(iterations, max_iterations or iterations),
        batch_size=batch_size,
        seed=seed,
        **training,
    )


if __name__ == "__main__":
    stage.run(main, globals().get("snakemake"))
