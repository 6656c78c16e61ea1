"""Pairs of similar crops, the training data of STEGO's head."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from maskmill.choices import check_choice
from maskmill.data.crops import crop_pixels, five_crop
from maskmill.data.images import read_image
from maskmill.data.index import Record
from maskmill.data.transforms import network_input, resize_image

CROPS = 5


def square_view(crop: np.ndarray, side: int, views: str) -> np.ndarray:
    """What STEGO's networks see of a crop uint8 [H, W, 3]: uint8 [side, side, 3].

    Args:
        side: pixels.
        views: `official`, as in the release (`crop_datasets.py`, and `get_transform` in `utils.py`): the crop was
            stored as a JPEG file, nearest neighbours resize its shorter side to `side`, and its middle is cut out;
            `squeezed`: the whole crop, by bicubic interpolation and without its aspect.

    Raises:
        ValueError: `views` is another word.
    """
    check_choice("views", views, ("official", "squeezed"))
    if views == "squeezed":
        return resize_image(crop, (side, side))
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "JPEG")
    height, width = (int(side * length / min(crop.shape[:2])) for length in crop.shape[:2])
    resized = np.array(Image.open(file).resize((width, height), Image.Resampling.NEAREST))
    return crop_pixels(resized, (round((height - side) / 2), round((width - side) / 2), side, side))


class NeighbourPairs:
    """Random pairs of a crop and one of its nearest neighbours, for the training loop.

    Args:
        records: images, in the order that the neighbours' crop numbers refer to (crop 5 i + j is crop j of image i).
        neighbours: int64 [5 N, k'], nearest first.
        mean, std: normalisation of the network, RGB in 0..1.
        k: number of nearest neighbours that one is drawn from.
        resolution: side of the square input, pixels.
        crop_ratio: see `five_crop`.
        views: `official` or `squeezed`, see `square_view`; the squeezed ones are mirrored or not at random.
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
        views: str = "official",
        short_side: int | None = None,
    ):
        self.records, self.neighbours, self.mean, self.std, self.k = records, neighbours, mean, std, k
        self.resolution, self.crop_ratio, self.views, self.short_side = resolution, crop_ratio, views, short_side

    def __len__(self) -> int:
        return CROPS * len(self.records)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """`image` and `positive`, float32 [3, resolution, resolution]."""
        neighbour = int(self.neighbours[index, rng.integers(self.k)])
        return {"image": self._crop(index, rng), "positive": self._crop(neighbour, rng)}

    def _crop(self, number: int, rng: np.random.Generator) -> Tensor:
        image = read_image(self.records[number // CROPS].image, self.short_side)
        height, width = image.shape[:2]
        crop = crop_pixels(image, five_crop(height, width, self.crop_ratio)[number % CROPS])
        if self.views == "squeezed" and rng.random() < 0.5:
            crop = crop[:, ::-1]
        return network_input(square_view(crop, self.resolution, self.views), self.mean, self.std)[0]
