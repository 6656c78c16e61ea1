"""Sliding windows. Golden numbers: grid and margins of MGD's released evaluator."""

import numpy as np
import pytest
import torch

from maskmill.data.transforms import network_input
from maskmill.networks.sliding import sliding_logits, window_starts


def test_grid_over_a_cityscapes_image_is_the_released_one():
    assert window_starts(1024, 800, 534) == [0, 224]
    assert window_starts(2048, 800, 534) == [0, 534, 1068, 1248]


@pytest.mark.parametrize(("length", "starts"), [(5, [0]), (6, [0]), (7, [0, 1]), (10, [0, 4]), (11, [0, 4, 5])])
def test_windows_cover_a_side_without_leaving_it(length, starts):
    assert window_starts(length, 6, 4) == starts


def test_windows_are_two_thirds_apart_and_overlaps_add_up():
    seen = []

    def network(x):
        seen.append(x.clone())
        return torch.ones(1, 2, 6, 6)

    pixels = torch.arange(8 * 10.0).view(1, 1, 8, 10).repeat(1, 3, 1, 1)
    total = sliding_logits(network, pixels, 6)  # stride 4: rows from 0 and 2, columns from 0 and 4
    assert [int(x[0, 0, 0, 0]) for x in seen] == [0, 4, 20, 24]
    rows, columns = torch.tensor([1, 1, 2, 2, 2, 2, 1, 1]), torch.tensor([1, 1, 1, 1, 2, 2, 1, 1, 1, 1])
    assert torch.equal(total, (rows[:, None] * columns).float().expand(1, 2, 8, 10))


def test_each_window_lands_where_it_was_cut():
    pixels = torch.rand(1, 3, 8, 10)
    total = sliding_logits(lambda x: x, pixels, 6)
    count = sliding_logits(torch.ones_like, pixels, 6)
    torch.testing.assert_close(total / count, pixels)


def test_a_small_image_lies_in_the_middle_of_zeros_and_comes_back_at_its_place():
    seen = []
    pixels = torch.rand(1, 3, 375, 500) + 1
    logits = sliding_logits(lambda x: seen.append(x) or 2 * x, pixels, 512)
    (window,) = seen
    filled = window[0, 0].nonzero()
    (top, left), (bottom, right) = filled.amin(dim=0).tolist(), (511 - filled.amax(dim=0)).tolist()
    assert (top, bottom, left, right) == (68, 69, 6, 6)
    assert torch.equal(logits, 2 * pixels)


@pytest.mark.parametrize(
    ("height", "width", "colour"), [(64, 151, "black"), (151, 63, "black"), (64, 83, "mean"), (64, 96, "mean")]
)
def test_margins_are_those_of_the_released_evaluator(height, width, colour):
    """Restated with numpy: an image with just one short side becomes a larger black image before it is normalised; one
    that fits into the window gets margins after that."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    rng = np.random.default_rng(height)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 7, padding=3)

    rows, columns = max(height, 96), max(width, 96)
    top, left = (rows - height) // 2, (columns - width) // 2
    place = slice(top, top + height), slice(left, left + width)
    picture = np.zeros((rows, columns, 3), np.uint8)
    picture[place] = image
    padded = (picture / 255 - mean) / std
    if colour == "mean":
        padded[:] = 0
        padded[place] = (image / 255 - mean) / std
    total = torch.zeros(4, rows, columns)
    ends = [(range(96, side, 64), side) for side in (rows, columns)]
    for bottom in (*ends[0][0], ends[0][1]):
        for right in (*ends[1][0], ends[1][1]):
            part = torch.from_numpy(padded[bottom - 96 : bottom, right - 96 : right].transpose(2, 0, 1)).float()
            total[:, bottom - 96 : bottom, right - 96 : right] += layer(part[None])[0].detach()
    expected = total[(slice(None), *place)]

    black = network_input(np.zeros((1, 1, 3), np.uint8), mean, std)
    logits = sliding_logits(layer, network_input(image, mean, std), 96, black=black)[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    plain = sliding_logits(layer, network_input(image, mean, std), 96)[0]
    assert torch.equal(plain, logits) == (colour == "mean")
