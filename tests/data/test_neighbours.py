"""Pairs of crops for STEGO's head: what a network sees of a crop, and which crops are neighbours."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from mars import uss_neighbours
from maskmill.data.crops import crop_pixels, five_crop
from maskmill.data.index import Record, write_index
from maskmill.data.neighbours import NeighbourPairs, square_view
from maskmill.data.transforms import network_input
from maskmill.networks.frozen_features import frozen_features
from maskmill.storage.checkpoints import load_tensors

PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and standard deviation that leave pixels as they are


def smooth(height, width, phase=0.0):
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(x / 5 + phase) * np.cos(y / 4 + k) for k in range(3)]
    return np.stack(waves, axis=2).astype(np.uint8)


def as_jpeg(crop):
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "JPEG")
    return Image.open(file)


@pytest.mark.parametrize("size", [(73, 51), (51, 73), (48, 48), (24, 31), (187, 250), (37, 111)])
def test_official_views_are_torchvisions_nearest_resizing_and_centre_crop(size):
    """`get_transform(res, False, "center")` of the released `utils.py`, on a crop that was saved as JPEG."""
    crop = smooth(*size)
    nearest = transforms.Resize(48, transforms.InterpolationMode.NEAREST)
    released = transforms.Compose([nearest, transforms.CenterCrop(48)])(as_jpeg(crop))
    np.testing.assert_array_equal(square_view(crop, 48, "official"), np.array(released))


def test_squeezed_views_show_the_whole_crop_and_official_ones_its_middle():
    crop = np.zeros((40, 80, 3), np.uint8)
    crop[:, :10] = 255
    assert square_view(crop, 20, "squeezed")[:, 0].min() > 200
    assert square_view(crop, 20, "official").max() < 20
    with pytest.raises(ValueError, match="views is 'whole'; choose one of official, squeezed"):
        square_view(crop, 20, "whole")


@pytest.fixture
def records(tmp_path):
    rows = []
    for number, size in enumerate([(41, 57), (57, 41), (44, 44), (60, 45)]):
        Image.fromarray(smooth(*size, phase=number)).save(tmp_path / f"{number}.png")
        rows.append(Record(str(number), tmp_path / f"{number}.png", None, *size, (1,), ("train",)))
    return rows


def crop_of(record, number):
    image = np.array(Image.open(record.image))
    return crop_pixels(image, five_crop(*image.shape[:2])[number])


@pytest.mark.parametrize("views", ["official", "squeezed"])
def test_only_squeezed_pairs_are_mirrored(records, views):
    neighbours = torch.tensor([[(row + 1) % 20] for row in range(20)])
    pairs = NeighbourPairs(records, neighbours, *PLAIN, k=1, resolution=16, crop_ratio=0.5, views=views)
    drawn = [pairs.sample(4, np.random.default_rng(seed)) for seed in range(20)]
    expected = torch.from_numpy(square_view(crop_of(records[0], 4), 16, views)).permute(2, 0, 1) / 255
    positive = torch.from_numpy(square_view(crop_of(records[1], 0), 16, views)).permute(2, 0, 1) / 255
    mirrored = [(pair["image"] - expected).abs().max() > 0.05 for pair in drawn]
    assert any(mirrored) == (views == "squeezed") and not all(mirrored)
    if views == "official":
        assert all(torch.equal(pair["positive"], positive) for pair in drawn)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_neighbours_are_searched_with_the_channels_that_dropout_leaves(records, tmp_path, dropout):
    """`precompute_knns.py` asks a network in training mode, whose Dropout2d drops channels of each crop."""
    write_index(tmp_path / "index.csv", records)
    (tmp_path / "ids.txt").write_text("".join(f"{record.image_id}\n" for record in records))
    uss_neighbours.main(
        index=str(tmp_path / "index.csv"),
        ids=str(tmp_path / "ids.txt"),
        neighbours=str(tmp_path / "neighbours.safetensors"),
        features="filter_bank",
        resolution=16,
        crop_ratio=0.5,
        k=5,
        views="official",
        neighbour_dropout=dropout,
        seed=3,
    )
    extract, draws = frozen_features("filter_bank"), torch.Generator().manual_seed(3)
    pooled = []
    for record in records:
        views = [square_view(crop_of(record, number), 16, "official") for number in range(5)]
        found = extract(torch.cat([network_input(view, extract.mean, extract.std) for view in views]))
        kept = torch.rand(5, extract.channels, 1, 1, generator=draws) >= dropout
        pooled.append((found * kept).mean(dim=(2, 3)).double().numpy())
    vectors = np.concatenate(pooled)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T - 3 * np.eye(20)
    nearest = load_tensors(tmp_path / "neighbours.safetensors")[0]["neighbours"].numpy()
    assert nearest.shape == (20, 5)
    found = np.take_along_axis(similarity, nearest, axis=1)
    np.testing.assert_allclose(found, -np.sort(-similarity, axis=1)[:, :5], atol=1e-6)
