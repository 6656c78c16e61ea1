"""Scores of class-incremental networks: golden numbers of BARM's release (`metrics/stream_metrics.py`), forgetting,
quality of pseudo labels."""

import numpy as np
import pandas as pd
import pytest

from maskmill.evaluation.incremental import PseudoLabelQuality, forgetting_table, known_truth, step_scores
from maskmill.evaluation.segmentation import confusion

NAMES = [f"class{number}" for number in range(17)]
STEPS = [tuple(range(1, 16)), (16,)]


def t5(*, without_last: bool = False) -> dict[str, float]:
    a = np.arange(800).reshape(2, 20, 20)
    truth, prediction = (7 * a) % 17, (7 * a + (a % 5 == 0)) % 17
    truth.flat[:5] = 255
    if without_last:
        truth[truth == 16] = 0
    matrix = confusion(truth.astype(np.uint8), prediction.astype(np.uint8), 17)
    rows = step_scores(matrix, NAMES, STEPS, counted="all")
    return {row["class_name"] or row["metric"]: row["value"] / 100 for row in rows}


def test_t5_means_over_all_old_and_new_classes():
    values = t5()
    assert values["miou"] == pytest.approx(0.6667531, abs=1e-6)
    assert values["miou_old"] == pytest.approx(0.6660145, abs=1e-6)
    assert values["miou_new"] == values["class16"] == pytest.approx(0.6785714, abs=1e-6)


def test_t5_a_class_that_is_only_predicted_scores_0():
    values = t5(without_last=True)
    assert values["class16"] == 0
    assert values["miou"] == pytest.approx(0.6163329, abs=1e-6)


def test_scores_are_of_the_learned_classes_alone():
    matrix = np.diag([10, 10, 10, 10])
    rows = step_scores(matrix, ["background", "a", "b", "c"], [(3,)])
    assert [(row["metric"], row["class_name"]) for row in rows] == [
        *(("miou", ""), ("miou_old", ""), ("iou", "background"), ("iou", "c")),
    ]


def test_classes_that_no_step_has_brought_do_not_count():
    truth = np.array([0, 1, 2, 3, 255], np.uint8)
    assert known_truth(truth, [(3,), (1,)]).tolist() == [0, 1, 255, 3, 255]


def test_forgetting_names_the_step_that_brought_a_class():
    names, steps = ["background", "a", "b"], [(2,), (1,)]
    tables = [
        pd.DataFrame([("miou", "", 0.0), ("iou", "background", 90.0), ("iou", "b", 80.0)]),
        pd.DataFrame([("iou", "background", 85.0), ("iou", "a", 70.0), ("iou", "b", 20.0)]),
    ]
    tables = [table.set_axis(["metric", "class_name", "value"], axis=1) for table in tables]
    rows = forgetting_table(tables, names, steps)
    assert list(rows.itertuples(index=False, name=None)) == [
        *((0, "background", 0, 90.0), (0, "b", 0, 80.0)),
        *((1, "background", 0, 85.0), (1, "a", 1, 70.0), (1, "b", 0, 20.0)),
    ]


def test_pseudo_labels_are_counted_on_the_background_of_the_steps_labels():
    quality = PseudoLabelQuality()
    labels = np.array([0, 0, 0, 0, 0, 3, 255])
    truth = np.array([1, 1, 2, 0, 255, 3, 255])
    targets = np.array([1, 0, 1, 2, 2, 3, 255])
    quality.add(targets, labels, truth)
    # Given: 1 (right), 1 for 2, 2 for background; to be found: 1, 1, 2.
    assert quality.precision == pytest.approx(100 / 3) and quality.recall == pytest.approx(100 / 3)


def test_without_pseudo_labels_there_is_no_precision():
    quality = PseudoLabelQuality()
    quality.add(np.zeros(3), np.zeros(3), np.zeros(3))
    assert np.isnan(quality.precision) and np.isnan(quality.recall)
