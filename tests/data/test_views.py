"""Training data of ZeroSeg."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.data.shards import Pair, Shards, write_indexed_shard
from maskmill.data.views import ViewedImages, centre_square


@pytest.mark.parametrize(("size", "top", "left"), [((4, 9), 0, 2), ((9, 4), 2, 0), ((5, 5), 0, 0)])
def test_the_centre_square_is_the_largest_in_the_middle(size, top, left):
    image = np.arange(size[0] * size[1] * 3).reshape(*size, 3)
    side = min(size)
    np.testing.assert_array_equal(centre_square(image), image[top : top + side, left : left + side])


def test_every_image_comes_with_its_own_views(tmp_path):
    shards, features = [], []
    for number, count in enumerate((2, 3)):
        pairs = []
        for position in range(count):
            path = tmp_path / f"{number}{position}.png"
            Image.fromarray(np.full((8, 12, 3), 100 * number + 10 * position, np.uint8)).save(path)
            pairs.append(Pair(f"{number}{position}", path))
        write_indexed_shard(tmp_path / f"{number}.tar", pairs, captioned=False)
        shards.append(tmp_path / f"{number}.tar")
        grey = 100 * number + 10 * np.arange(count)
        features.append(np.stack([np.full((5, 4), value + 1, np.float16) for value in grey]))
    images = ViewedImages(Shards(shards), features, 6, (0, 0, 0), (1, 1, 1))
    assert len(images) == 5
    for index, grey in enumerate((0, 10, 100, 110, 120)):
        example = images.sample(index, np.random.default_rng(0))
        assert example["image"].shape == (3, 6, 6) and example["views"].shape == (5, 4)
        torch.testing.assert_close(example["image"], torch.full((3, 6, 6), grey / 255))
        torch.testing.assert_close(example["views"], torch.full((5, 4), 0.5))  # unit vectors
