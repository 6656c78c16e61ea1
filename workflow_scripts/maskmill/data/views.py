"""Training data of ZeroSeg: images with the vectors that its teacher computed of the whole image and of its cells.

As in the paper, images are centre-cropped and not augmented otherwise, so that the vectors can be cached."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maskmill.data.shards import Shards
from maskmill.data.transforms import network_input


def centre_square(image: np.ndarray) -> np.ndarray:
    """The largest square in the middle of uint8 [H, W, 3]; an odd pixel is cut off right or below."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


class ViewedImages:
    """The centre squares of images with their views, for the training loop.

    Args:
        shards: the images.
        features: vectors of their views, one feature store per shard.
        size: side of the network's input, pixels.
        mean, std: normalisation of the network, RGB in 0..1.
    """

    def __init__(
        self,
        shards: Shards,
        features: Sequence[Sequence[np.ndarray]],
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        self.shards, self.features = shards, features
        self.size, self.mean, self.std = size, mean, std

    def __len__(self) -> int:
        return len(self.shards)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """One example: `image` float32 [3, size, size], and `views`, unit vectors float32 [V, D]."""
        _, image, _ = self.shards[index]
        number, position = self.shards.locate(index)
        views = torch.from_numpy(self.features[number][position]).float()
        pixels = network_input(centre_square(image), self.mean, self.std, (self.size, self.size))
        return {"image": pixels[0], "views": torch.nn.functional.normalize(views, dim=-1)}
