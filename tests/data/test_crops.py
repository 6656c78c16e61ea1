import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.data.crops import five_crop


def test_five_crop_takes_the_corners_and_the_centre():
    assert five_crop(100, 61, 0.5) == [
        (0, 0, 50, 30),
        (0, 31, 50, 30),
        (50, 0, 50, 30),
        (50, 31, 50, 30),
        (25, 15, 50, 30),
    ]


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.01, 1))
def test_crops_lie_inside_the_image_and_are_not_empty(height, width, ratio):
    for top, left, h, w in five_crop(height, width, ratio):
        assert top >= 0 and left >= 0 and h >= 1 and w >= 1
        assert top + h <= height and left + w <= width


def test_ratio_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"crop ratio 1\.5"):
        five_crop(10, 10, 1.5)
