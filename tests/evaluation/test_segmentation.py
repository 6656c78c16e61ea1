"""Confusion matrices and their scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from maskmill.data.index import Record, write_index
from maskmill.data.voc import write_mask
from maskmill.evaluation.segmentation import SeedCurve, confusion, scores
from maskmill.storage.maps import create_maps
from results.evaluate import main as evaluate

NAMES = ["background", "a", "b", "c"]


def label_maps(seed, values=(0, 1, 2, 3, 255), shape=(9, 7)):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size=shape)


def value(rows, metric, name=""):
    return next(r["value"] for r in rows if r["metric"] == metric and r["class_name"] == name)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_miou_equals_scikit_learns(seed):
    truth, prediction = label_maps(seed), label_maps(seed + 1, values=(0, 1, 2, 3))
    counted = truth != 255
    expected = jaccard_score(truth[counted], prediction[counted], labels=range(4), average="macro")
    assert value(scores(confusion(truth, prediction, 4), NAMES), "miou") == pytest.approx(100 * expected, rel=1e-12)


def test_iou_fp_and_fn_of_a_class_add_up_to_100():
    rows = scores(confusion(label_maps(1), label_maps(2), 4), NAMES)
    for name in NAMES:
        assert sum(value(rows, metric, name) for metric in ("iou", "fp", "fn")) == pytest.approx(100)


def test_hand_made_scores():
    truth = np.array([[0, 0, 1, 1], [1, 255, 0, 0]], np.uint8)
    prediction = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], np.uint8)
    rows = scores(confusion(truth, prediction, 4), NAMES)
    assert value(rows, "iou", "background") == pytest.approx(100 * 3 / 5)
    assert value(rows, "iou", "a") == pytest.approx(100 * 2 / 4)
    assert value(rows, "miou") == pytest.approx(55)
    assert value(rows, "fp") == pytest.approx(25)
    assert not [r for r in rows if r["class_name"] in ("b", "c")], "classes that occur nowhere have no row"


def test_biased_and_ignored_predictions_count_as_background():
    truth = np.array([[0, 1, 1]], np.uint8)
    matrix = confusion(truth, np.array([[254, 255, 1]], np.uint8), 4)
    assert matrix[0, 0] == 1 and matrix[1, 0] == 1 and matrix[1, 1] == 1


@pytest.mark.parametrize("block", [1, 2, 16, 64])
def test_runs_and_noise_are_counted_alike(block):
    """Blocks of 1 pixel are noise, those of 64 a map with few runs."""
    rng = np.random.default_rng(block)
    truth, prediction = (
        rng.choice(np.array(values, np.uint8), (64 // block, 64 // block)).repeat(block, 0).repeat(block, 1)
        for values in ((0, 1, 2, 3, 255), (0, 1, 2, 3, 254, 255))
    )
    expected = np.zeros((4, 4), int)
    for true, predicted in zip(truth.ravel(), prediction.ravel(), strict=True):
        if true != 255:
            expected[true, predicted if predicted < 4 else 0] += 1
    np.testing.assert_array_equal(confusion(truth, prediction, 4), expected)


def test_averaged_classes_restrict_the_mean():
    matrix = confusion(label_maps(3), label_maps(4), 4)
    rows = scores(matrix, NAMES, averaged=(0, 2))
    assert value(rows, "miou") == pytest.approx((value(rows, "iou", "background") + value(rows, "iou", "b")) / 2)
    assert not [r for r in rows if r["class_name"] == "a"]


def test_seed_curve_equals_thresholding_one_by_one():
    rng = np.random.default_rng(0)
    thresholds = [0.1, 0.3, 0.55]
    curve = SeedCurve(4, thresholds)
    direct = [np.zeros((4, 4), int) for _ in thresholds]
    for seed in range(3):
        truth, cam, classes = label_maps(seed), rng.random((2, 9, 7)), np.array([1, 3])
        curve.add(truth, cam, classes)
        for matrix, threshold in zip(direct, thresholds, strict=True):
            planes = np.concatenate([np.full((1, 9, 7), threshold), cam])
            matrix += confusion(truth, np.array([0, 1, 3])[planes.argmax(axis=0)].astype(np.uint8), 4)
    for number, matrix in enumerate(direct):
        np.testing.assert_array_equal(curve.matrix(number), matrix)


def barm_reference():
    """The input of a run of BARM's released metric, as a confusion matrix."""
    position = np.arange(800)
    truth = (7 * position) % 17
    prediction = (truth + (position % 5 == 0)) % 17
    truth[:5] = 255
    return confusion(truth, prediction, 17), confusion(np.where(truth == 16, 0, truth), prediction, 17)


def test_scores_are_those_of_the_reference_metric():
    whole, without_16 = barm_reference()
    names = [str(n) for n in range(17)]
    assert value(scores(whole, names), "miou") == pytest.approx(66.67531, abs=5e-5)
    assert value(scores(whole, names), "iou", "16") == pytest.approx(67.85714, abs=5e-5)
    assert value(scores(whole, names, range(16)), "miou") == pytest.approx(66.60145, abs=5e-5)
    rows = scores(without_16, names, counted="all")
    assert value(rows, "iou", "16") == 0
    assert value(rows, "miou") == pytest.approx(61.63329, abs=5e-5)


def test_absent_classes_count_as_asked():
    matrix = confusion(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), 4)  # 2 only predicted, 3 nowhere
    mean = {counted: value(scores(matrix, NAMES, counted=counted), "miou") for counted in ("occurring", "truth", "all")}
    assert mean == pytest.approx({"occurring": 50, "truth": 75, "all": 37.5})
    with pytest.raises(ValueError, match="occurring, truth, all"):
        scores(matrix, NAMES, counted="some")


def test_class_0_counts_as_foreground_where_there_is_no_background():
    matrix = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)
    assert value(scores(matrix, NAMES[:2]), "fn") == 0
    assert value(scores(matrix, NAMES[:2], has_background=False), "fn") == pytest.approx(25)


def test_scores_are_those_of_mgds_reference_run():
    position = np.arange(400)
    truth = np.where(3 * position % 23 > 20, 255, 3 * position % 23).astype(np.uint8)
    matrix = confusion(truth, (5 * position % 21).astype(np.uint8), 21)
    rows = scores(matrix, [str(n) for n in range(21)])
    assert matrix.sum() == 365
    assert value(rows, "miou") == pytest.approx(2.398414, abs=1e-6)
    assert np.mean([value(rows, "iou", str(n)) for n in range(1, 21)]) == pytest.approx(2.375477, abs=1e-6)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(0.04657534, abs=1e-8)


def test_an_image_without_classes_is_background_at_every_threshold():
    curve = SeedCurve(3, [0.1, 0.5])
    curve.add(np.array([[0, 2], [2, 255]], np.uint8), np.zeros((0, 2, 2)), np.array([], int))
    for number in range(2):
        assert curve.matrix(number).tolist() == [[1, 0, 0], [0, 0, 0], [2, 0, 0]]


def test_a_score_of_background_alone_is_warned_of(tmp_path, caplog):
    image, mask = tmp_path / "a.jpg", tmp_path / "a.png"
    write_mask(mask, np.array([[0, 255]], np.uint8))
    write_index(tmp_path / "index.csv", [Record("a", image, mask, 1, 2, (), ("val",))])
    (tmp_path / "val.txt").write_text("a\n")
    with create_maps(tmp_path / "labels.h5", "label", producer="test") as store:
        store.write("a", np.array([[0, 0]], np.uint8))
    files = [str(tmp_path / name) for name in ("index.csv", "val.txt", "labels.h5", "scores.csv", "confusion.csv")]
    evaluate("voc", *files)
    assert caplog.messages == [
        f"warning: no mask shows a class in the images of {files[1]}: the score is of background alone"
    ]
    write_mask(mask, np.array([[0, 3]], np.uint8))
    caplog.clear()
    evaluate("voc", *files)
    assert caplog.messages == []
