"""Golden numbers: one run of IRN's released `crf_inference_label` with pydensecrf2 1.1."""

import numpy as np
import pytest

from fills import digest
from maskmill.refinement.dense_crf import dense_crf, label_unary, probability_unary

IRN = {
    "gaussian_sxy": 3,
    "gaussian_compat": 3,
    "bilateral_sxy": 50,
    "bilateral_srgb": 5,
    "bilateral_compat": 10,
}
y, x, c = np.ogrid[:24, :32, :3]
IMAGE = ((60 * (x // 8) + 50 * (y // 6) * (c + 1) + 3 * ((5 * x + 3 * y + c) % 7)) % 256).astype(np.uint8)
LABELS = ((x // 7 + y // 9) % 3)[..., 0]


def test_inputs_are_those_of_the_reference_run():
    assert digest(IMAGE, "u1") == "d61e8fb69eb410f8"
    assert np.bincount(LABELS.ravel()).tolist() == [255, 267, 246]


@pytest.mark.parametrize(("num_labels", "of_other"), [(2, 1.20397281647), (3, 1.89711999893), (4, 2.30258512497)])
def test_label_unary_is_the_reference_energy(num_labels, of_other):
    labels = np.arange(24 * 32).reshape(24, 32) % num_labels
    unary = label_unary(labels, num_labels)
    assert unary.shape == (num_labels, 768)
    assert unary.dtype == np.float32
    given = labels.ravel() == np.arange(num_labels)[:, None]
    np.testing.assert_allclose(unary[given], 0.356674939394, rtol=1e-7)
    np.testing.assert_allclose(unary[~given], of_other, rtol=1e-7)


@pytest.mark.parametrize(
    ("iterations", "counts", "changed", "sha", "means", "first", "margin"),
    [
        (
            1,
            [255, 274, 239],
            83,
            "25b4cd0ae0326b8f",
            [0.330303639, 0.354303151, 0.315393120],
            0.997990966,
            0.000261217,
        ),
        (
            10,
            [235, 266, 267],
            271,
            "97b18b8ead1faeac",
            [0.307096362, 0.346355528, 0.346546859],
            0.999997377,
            0.01045841,
        ),
    ],
)
def test_marginals_are_the_reference_marginals(iterations, counts, changed, sha, means, first, margin):
    q = dense_crf(IMAGE, label_unary(LABELS, 3), iterations=iterations, **IRN)
    assert q.dtype == np.float32
    labels = q.argmax(0)
    assert np.bincount(labels.ravel()).tolist() == counts
    assert np.count_nonzero(labels != LABELS) == changed
    assert digest(labels) == sha
    np.testing.assert_allclose(q.mean((1, 2)), means, rtol=1e-5)
    assert q[0, 0, 0] == pytest.approx(first, rel=1e-5)
    second, best = np.sort(q, axis=0)[-2:]
    assert (best - second).min() == pytest.approx(margin, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "digits"),
    [
        (0, "00000000111111112222222201000100"),
        (12, "11111111222222220000000022122222"),
        (23, "22222222000000001111111122220222"),
    ],
)
def test_labels_of_ten_iterations_are_the_reference_rows(row, digits):
    q = dense_crf(IMAGE, label_unary(LABELS, 3), iterations=10, **IRN)
    assert "".join(map(str, q[:, row].argmax(0))) == digits


def test_memory_layout_does_not_matter():
    unary = label_unary(LABELS, 3)
    plain = dense_crf(IMAGE, unary, iterations=3, **IRN)
    image = np.asfortranarray(IMAGE[::-1])[::-1]
    np.testing.assert_array_equal(dense_crf(image, np.asfortranarray(unary), iterations=3, **IRN), plain)


def test_probability_unary_is_the_clipped_negative_logarithm():
    probabilities = np.array([[[0.0, 0.25]], [[1.0, 0.75]]])
    unary = probability_unary(probabilities)
    assert unary.dtype == np.float32
    np.testing.assert_allclose(unary, [[-np.log(1e-5), -np.log(0.25)], [0, -np.log(0.75)]], rtol=1e-6)


def test_one_label_leaves_nothing_to_decide():
    unary = label_unary(np.zeros((24, 32), np.uint8), 1)
    np.testing.assert_array_equal(dense_crf(IMAGE, unary, iterations=10, **IRN), np.ones((1, 24, 32)))


def test_bad_shapes_and_labels_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        label_unary(LABELS, 2)
    with pytest.raises(ValueError, match="unary must be"):
        dense_crf(IMAGE, label_unary(LABELS[:-1], 3), iterations=1, **IRN)
    with pytest.raises(ValueError, match="uint8"):
        dense_crf(IMAGE / 255, label_unary(LABELS, 3), iterations=1, **IRN)
