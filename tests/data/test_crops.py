import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from maskmill.data.crops import five_crop


def test_five_crop_takes_the_corners_and_the_centre():
    assert five_crop(100, 61, 0.5) == [
        (0, 0, 50, 30),
        (0, 31, 50, 30),
        (50, 0, 50, 30),
        (50, 31, 50, 30),
        (25, 16, 50, 30),
    ]


@pytest.mark.parametrize("size", [(100, 61), (321, 501), (375, 500), (33, 34), (35, 37), (2, 3)])
def test_crops_are_those_of_torchvision_which_the_release_of_stego_calls(size):
    image = torch.arange(size[0] * size[1]).reshape(1, *size)
    height, width = size[0] // 2, size[1] // 2
    released = torchvision.transforms.functional.five_crop(image, [height, width])
    for (top, left, h, w), crop in zip(five_crop(*size), released, strict=True):
        assert torch.equal(image[:, top : top + h, left : left + w], crop)


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.01, 1))
def test_crops_lie_inside_the_image_and_are_not_empty(height, width, ratio):
    for top, left, h, w in five_crop(height, width, ratio):
        assert top >= 0 and left >= 0 and h >= 1 and w >= 1
        assert top + h <= height and left + w <= width


def test_ratio_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"crop ratio 1\.5"):
        five_crop(10, 10, 1.5)
