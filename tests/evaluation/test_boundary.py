"""Boundary IoU."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from maskmill.evaluation.boundary import band_width, boundary_counts, boundary_scores

NAMES = ["background", "a", "b"]


def square(top, left, side, size=40, label=1):
    labels = np.zeros((size, size), np.uint8)
    labels[top : top + side, left : left + side] = label
    return labels


def scores_of(truth, prediction, ratio=0.02):
    rows = boundary_scores(boundary_counts(truth, prediction, 3, ratio), NAMES)
    return {row["class_name"]: row["value"] for row in rows}


def by_erosion(truth, prediction, label, width):
    """The definition for one class of one image: a mask minus its erosion, with background outside the image."""
    bands = [
        mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
        for mask in (truth == label, prediction == label)
    ]
    return 100 * (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()


@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.05, 0.1]))
@settings(max_examples=30, deadline=None)
def test_score_of_a_class_is_that_of_masks_less_their_erosions(seed, ratio):
    rng = np.random.default_rng(seed)
    truth, prediction = (np.kron(rng.integers(0, 3, (5, 4)), np.ones((7, 9), int)).astype(np.uint8) for _ in range(2))
    prediction = np.roll(truth, int(rng.integers(0, 4)), axis=1) if rng.random() < 0.5 else prediction
    width = band_width(*truth.shape, ratio)
    for label, name in enumerate(NAMES):
        if ((truth == label) | (prediction == label)).any():
            expected = by_erosion(truth, prediction, label, width)
            assert scores_of(truth, prediction, ratio)[name] == pytest.approx(expected)


def test_square_that_is_moved_by_one_pixel():
    """Band of 1 pixel on a 10x10 square: 36 pixels; of two squares one column apart 18 are common."""
    assert band_width(40, 40) == 1
    assert scores_of(square(10, 10, 10), square(10, 11, 10))["a"] == pytest.approx(100 * 18 / (2 * 36 - 18))


def test_an_error_inside_an_object_adds_its_outline_to_the_union():
    truth, inner = square(5, 5, 30), square(5, 5, 30)
    inner[19:21, 19:21] = 2
    scores = scores_of(truth, inner)
    ring = 4 * 30 - 4
    assert scores["a"] == pytest.approx(100 * ring / (ring + 12))  # the hole's outline, 12 pixels around it
    assert scores["b"] == 0


def test_width_is_a_share_of_the_diagonal():
    assert [band_width(*size) for size in ((375, 500), (96, 96), (1024, 2048), (10, 10))] == [12, 3, 46, 1]
    assert band_width(300, 400, ratio=0.1) == 50
    assert math.isclose(0.02 * math.hypot(375, 500), 12.5)  # rounded to the even 12, as in the released code


def test_ignored_pixels_do_not_count_and_a_right_prediction_scores_100():
    truth = square(10, 10, 12)
    truth[8:10, 8:24] = truth[22:24, 8:24] = 255
    truth[8:24, 8:10] = truth[8:24, 22:24] = 255
    right = np.where(truth == 255, 1, truth)
    other = np.where(truth == 255, 0, truth)
    for prediction in (right, other):
        assert scores_of(truth, prediction) == {"": 100, "background": 100, "a": 100}


def test_ids_that_are_no_class_are_background():
    truth = square(10, 10, 12)
    prediction = np.where(truth == 0, 255, truth).astype(np.uint8)
    prediction[0, :5] = 254
    assert scores_of(truth, prediction)["background"] == 100


def test_counts_add_up_over_images_and_the_mean_is_over_occurring_classes():
    pairs = [(square(10, 10, 10), square(10, 11, 10)), (square(4, 4, 20), square(4, 4, 20))]
    total = sum(boundary_counts(*pair, 3) for pair in pairs)
    assert total.dtype == np.int64
    rows = boundary_scores(total, NAMES)
    assert [row["class_name"] for row in rows] == ["", "background", "a"]
    assert rows[2]["value"] == pytest.approx(100 * (18 + 76) / (54 + 76))
    assert rows[0]["value"] == pytest.approx((rows[1]["value"] + rows[2]["value"]) / 2)
    only = boundary_scores(total, NAMES, averaged=(1,))
    assert [row["value"] for row in only] == [rows[2]["value"]] * 2
    assert math.isnan(boundary_scores(total, NAMES, averaged=(2,))[0]["value"])
