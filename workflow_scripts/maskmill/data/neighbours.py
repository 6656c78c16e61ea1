"""Pairs of similar crops, the training data of STEGO's head."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from maskmill.data.crops import crop_pixels, five_crop
from maskmill.data.images import read_image
from maskmill.data.index import Record
from maskmill.data.transforms import network_input

CROPS = 5


class NeighbourPairs:
    """Random pairs of a crop and one of its nearest neighbours, for the training loop.

    Args:
        records: images, in the order that the neighbours' crop numbers refer to (crop 5 i + j is crop j of image i).
        neighbours: int64 [5 N, k'], nearest first.
        mean, std: normalisation of the network, RGB in 0..1.
        k: number of nearest neighbours that one is drawn from.
        resolution: side of the square input, pixels.
        crop_ratio: see `five_crop`.
        short_side: working size of the images, see `read_image`.
    """

    def __init__(
        self,
        records: list[Record],
        neighbours: Tensor,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        k: int,
        resolution: int,
        crop_ratio: float,
        short_side: int | None = None,
    ):
        self.records, self.neighbours, self.mean, self.std, self.k = records, neighbours, mean, std, k
        self.resolution, self.crop_ratio, self.short_side = resolution, crop_ratio, short_side

    def __len__(self) -> int:
        return CROPS * len(self.records)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """`image` and `positive`, float32 [3, resolution, resolution], each mirrored or not at random."""
        neighbour = int(self.neighbours[index, rng.integers(self.k)])
        return {"image": self._crop(index, rng), "positive": self._crop(neighbour, rng)}

    def _crop(self, number: int, rng: np.random.Generator) -> Tensor:
        image = read_image(self.records[number // CROPS].image, self.short_side)
        height, width = image.shape[:2]
        crop = crop_pixels(image, five_crop(height, width, self.crop_ratio)[number % CROPS])
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return network_input(crop, self.mean, self.std, (self.resolution, self.resolution))[0]
