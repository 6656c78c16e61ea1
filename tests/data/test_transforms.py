"""Augmentation: image and labels stay aligned, all randomness comes from the generator."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.data.datasets import TrainingImages
from maskmill.data.index import Record
from maskmill.data.transforms import Augmentation, network_input, resize_image, resize_label, scaled

HALF = (0.5, 0.5, 0.5)


def picture(height=40, width=60):
    """Left half dark, right half bright; labels 1 and 2 alike."""
    image = np.zeros((height, width, 3), np.uint8)
    label = np.ones((height, width), np.uint8)
    image[:, width // 2 :], label[:, width // 2 :] = 255, 2
    return image, label


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [{"long_side": (30, 90)}, {"scale": (0.5, 1.5)}])
def test_labels_follow_the_image(seed, size):
    image, label = picture()
    pixels, labels = Augmentation(crop=48, **size)(image, label, HALF, HALF, np.random.default_rng(seed))
    assert pixels.shape == (3, 48, 48) and labels.shape == (48, 48)
    inside = labels != 255
    agree = (pixels[0] > 0) == (labels == 2)
    assert agree[inside].float().mean() > 0.95, "bicubic and nearest differ on the edge only"
    assert (pixels[:, ~inside] == 0).all(), "the padding is the mean colour"


def test_same_generator_same_crop_and_another_one_another():
    image, label = picture()
    augment = Augmentation(crop=32, long_side=(30, 90), color_jitter=(0.3, 0.3, 0.3, 0.1))
    first, again, other = (augment(image, label, HALF, HALF, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_crops_reach_every_part_of_a_large_image():
    image = np.zeros((64, 64, 3), np.uint8)
    label = np.arange(64, dtype=np.uint8)[:, None].repeat(64, axis=1)
    augment = Augmentation(crop=16, scale=(1.0, 1.0))
    rows = {int(augment(image, label, HALF, HALF, np.random.default_rng(s))[1].min()) for s in range(400)}
    assert min(rows) == 0 and max(rows) == 48


def test_network_input_is_normalised():
    image = np.full((4, 6, 3), 255, np.uint8)
    x = network_input(image, (0.5, 0.4, 0.3), (0.5, 0.5, 0.1))
    assert x.shape == (1, 3, 4, 6)
    assert x[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.2, 7.0])
    assert network_input(image, HALF, HALF, (8, 9)).shape == (1, 3, 8, 9)


def test_scaled_sizes_round_and_never_vanish():
    assert scaled((375, 500), 0.5) == (188, 250)
    assert scaled((3, 3), 0.1) == (1, 1)


def test_training_images_never_open_a_mask(tmp_path):
    Image.fromarray(picture()[0]).save(tmp_path / "a.png")
    record = Record("a", tmp_path / "a.png", tmp_path / "no such mask.png", 40, 60, (3, 20), ("train",))
    images = TrainingImages([record], Augmentation(crop=16, scale=(1, 1)), HALF, HALF, num_classes=21)
    example = images.sample(0, np.random.default_rng(0))
    assert set(example) == {"image", "tags"}
    assert example["tags"].nonzero().flatten().tolist() == [2, 19]


# One run of IRN's released `pil_rescale` on the label image (3x + 7y) mod 250.
RAMP = ((3 * np.arange(32)[None] + 7 * np.arange(24)[:, None]) % 250).astype(np.uint8)


@pytest.mark.parametrize(
    ("factor", "shape", "total", "first", "last"),
    [(0.25, (6, 8), 6336, 20, 244), (0.5, (12, 16), 25094, 10, 4), (1.5, (36, 48), 218616, 0, 4)],
)
def test_labels_are_resized_as_in_the_reference_run(factor, shape, total, first, last):
    small = resize_label(RAMP, scaled(RAMP.shape, factor))
    assert small.shape == shape
    assert (int(small.sum()), int(small[0, 0]), int(small[-1, -1])) == (total, first, last)


@pytest.mark.parametrize(("factor", "total", "first", "last"), [(0.5, 24412, 6, 140), (1.5, 218832, 0, 0)])
def test_images_are_resized_as_in_the_reference_run(factor, total, first, last):
    resized = resize_image(RAMP[..., None].repeat(3, axis=2), scaled(RAMP.shape, factor))
    for channel in np.moveaxis(resized, 2, 0):
        assert (int(channel.sum()), int(channel[0, 0]), int(channel[-1, -1])) == (total, first, last)
