"""Localisation metrics; the golden numbers come from one run of BAS' evaluator (`WSOL/evaluator.py`) on these maps."""

import numpy as np
import pytest

from maskmill.evaluation.localization import (
    GREY_LEVELS,
    accuracy,
    best_levels,
    best_setting,
    boxes_in_crop,
    components,
    contour_boxes,
    contour_ious,
    enlarge,
    hits,
    iou,
    largest_box,
    max_box_accuracy,
    normalise,
    pixel_scores,
    printed_box_accuracy,
    ranks,
    score_histograms,
    threshold_ious,
)

TRUTH = np.array([[30, 40, 120, 130], [120, 100, 200, 190]])
Y28, X28 = np.mgrid[:28, :28].astype(float)


def blob(height, x, y, sigma):
    return height * np.exp(-((X28 - x) ** 2 + (Y28 - y) ** 2) / (2 * sigma**2))


MAPS = {
    "A": blob(0.9, 8, 9, 3) + blob(0.6, 20, 18, 2.5),
    "B": blob(0.9, 6, 6, 2) + blob(0.8, 21, 20, 4),
    "C": np.full((28, 28), 0.3),
}
LARGE = {name: enlarge(normalise(scores), 224) for name, scores in MAPS.items()}
BOXES = {
    ("A", 0.1): ([16, 24, 120, 128], [0.722673329169, 0.00157891871291], [8456, 4860]),
    ("A", 0.25): ([28, 36, 108, 116], [0.69448567188, 0], [5032, 2459]),
    ("A", 0.5): ([40, 48, 96, 104], [0.392343919816, 0], [2496, 672]),
    ("A", 0.7): ([48, 56, 88, 96], [0.20299480739, 0], [1248]),
    ("B", 0.1): ([105, 97, 224, 224], [0.0235528423605, 0.4798828125], [3786, 13008]),
    ("B", 0.25): ([121, 113, 224, 215], [0, 0.5268935236], [2252, 8248]),
    ("B", 0.5): ([138, 130, 206, 198], [0, 0.463626492942], [1100, 3680]),
    ("B", 0.7): ([150, 142, 194, 186], [0, 0.274725274725], [532, 1480]),
    **{("C", threshold): ([0, 0, 224, 224], [0.163575308642, 0.1456], []) for threshold in (0.1, 0.25, 0.5, 0.7)},
}
# By map: mean, first, last, maximum, value [100, 80]; pixels above 0.1, 0.25, 0.5.
FIGURES = {
    "A": ([0.105263455271, 0.000317330498486, 2.02880746439e-05, 0.993245311161, 0.513654671814], [13316, 7491, 3168]),
    "B": ([0.136868697457, 0.000123209315365, 0.0624088083648, 0.985355434067, 0.00450825343849], [16794, 10500, 4780]),
    "C": ([0, 0, 0, 0, 0], [0, 0, 0]),
}
SINGLE_FIGURES = {  # mean, first, last in float32, in which the workflow scores; pixels above 0.1, 0.5
    "A": ([0.105263451004, 0.000317330472171, 2.02880746656e-05], [13316, 3168]),
    "B": ([0.136868699478, 0.000123209320009, 0.0624088086188], [16794, 4780]),
    "C": ([0, 0, 0], [0, 0]),
}


# --- maps and boxes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAPS)
def test_normalised_and_enlarged_maps_are_the_reference_evaluators(name):
    large, (figures, pixels) = LARGE[name], FIGURES[name]
    found = [large.mean(), large[0, 0], large[-1, -1], large.max(), large[100, 80]]
    assert found == pytest.approx(figures, rel=1e-9)
    assert large.min() == pytest.approx(0, abs=1e-12)
    assert [(large > threshold).sum() for threshold in (0.1, 0.25, 0.5)] == pixels


@pytest.mark.parametrize("name", MAPS)
def test_maps_in_single_precision_are_the_reference_evaluators(name):
    large, (figures, pixels) = enlarge(normalise(MAPS[name].astype(np.float32)), 224), SINGLE_FIGURES[name]
    assert large.dtype == np.float32
    assert [large.mean(dtype=float), large[0, 0], large[-1, -1]] == pytest.approx(figures, rel=1e-6)
    assert [(large > threshold).sum() for threshold in (0.1, 0.5)] == pixels


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "threshold"), BOXES)
def test_boxes_components_and_ious_are_the_reference_evaluators(name, threshold, dtype):
    box, ious, sizes = BOXES[name, threshold]
    large = enlarge(normalise(MAPS[name].astype(dtype)), 224)
    assert list(largest_box(large, threshold)) == box
    assert iou(largest_box(large, threshold), TRUTH)[0] == pytest.approx(ious, abs=1e-11)
    assert list(components(large > threshold)[1]) == sizes


def test_a_constant_map_has_no_component_and_becomes_zero_in_both_releases():
    for epsilon in (1e-5, 0.0):
        assert (normalise(MAPS["C"], epsilon) == 0).all()
    boxes, sizes = components(np.zeros((4, 4), bool))
    assert boxes.shape == (0, 4) and sizes.shape == (0,)


def test_components_touch_at_corners_and_come_in_the_order_of_their_first_pixels():
    region = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1]], bool)
    boxes, sizes = components(region)
    assert boxes.tolist() == [[4, 0, 5, 2], [0, 1, 2, 3], [3, 3, 5, 4]]
    assert sizes.tolist() == [2, 2, 2]


def test_the_first_of_equally_large_components_is_chosen():
    scores = np.zeros((6, 9))
    scores[4:, :3] = scores[1:4, 6:8] = 1
    assert largest_box(scores, 0.5).tolist() == [6, 1, 8, 4]


def test_a_threshold_itself_is_not_above_it():
    scores = np.zeros((4, 4))
    scores[1, 1], scores[2, 2] = 0.5, 0.6
    assert largest_box(scores, 0.5).tolist() == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("first", "second", "golden"),
    [
        ((0, 0, 10, 10), (5, 5, 15, 15), 0.174757281553),
        ((0, 0, 10, 10), (11, 0, 20, 10), 0),
        ((0, 0, 10, 10), (10, 10, 20, 20), 0.00414937759336),
        ((30.5, 40.25, 120, 130), (35, 45, 110, 150), 0.671538471418),
        ((0, 0, 224, 224), (0, 0, 223, 223), 0.991130864198),
    ],
)
def test_iou_with_both_ends_counted_is_the_reference_evaluators(first, second, golden):
    assert iou(first, second).item() == pytest.approx(golden, abs=1e-11)
    assert iou(second, first).item() == pytest.approx(golden, abs=1e-11)


def test_exclusive_iou_is_that_of_areas():
    assert iou((0, 0, 10, 10), (5, 5, 15, 15), inclusive=False).item() == pytest.approx(25 / 175)
    assert iou((0, 0, 10, 10), (10, 10, 20, 20), inclusive=False).item() == 0
    assert iou((3, 3, 3, 3), (3, 3, 3, 3), inclusive=False).item() == 0  # empty boxes
    assert iou((0, 0, 10, 10), [(0, 0, 10, 10), (0, 0, 5, 10)], inclusive=False).tolist() == [[1, 0.5]]


def test_true_boxes_are_scaled_shifted_clipped_and_in_the_extension_truncated():
    boxes = [[0, 100, 250, 400], [30, 41, 499, 333]]
    whole = boxes_in_crop(boxes, (400, 500), 256, 224)
    assert whole.dtype.kind == "i"
    assert whole.tolist() == [[0, 48, 112, 223], [0, 10, 223, 197]]
    kept = boxes_in_crop(boxes, (400, 500), 256, 224, truncated=False)
    assert kept[1] == pytest.approx([0, 41 * 256 / 400 - 16, 224, 333 * 256 / 400 - 16])
    assert kept[0].tolist() == [0, 48, 112, 224]


# --- accuracies -------------------------------------------------------------------------------------------------------


def test_an_image_counts_by_the_true_box_that_fits_best():
    assert threshold_ious(LARGE["B"], TRUTH, [0.1, 0.25]) == pytest.approx([0.4798828125, 0.5268935236], abs=1e-9)


def test_an_iou_at_the_level_is_a_hit_unless_the_release_is_strict():
    ious = np.array([0.5, 0.49, 0.51])
    assert hits(ious).tolist() == [True, False, True]
    assert hits(ious, strict=True).tolist() == [False, False, True]


def test_class_means_weigh_classes_alike():
    right, classes = np.array([True, True, True, False]), np.array([7, 7, 7, 9])
    assert accuracy(right) == 75
    assert accuracy(right, classes) == 50


def test_ranks_count_the_classes_above_the_true_one():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    assert ranks(scores, np.array([2, 0])).tolist() == [1, 0]


def test_the_best_setting_is_found_over_top_k_and_threshold():
    ious = np.zeros((4, 2, 3))
    ious[:2, 0, 2] = ious[:3, 1, 1] = 0.6
    assert best_setting(ious) == (1, 1)


def test_the_best_setting_is_one_by_the_rules_that_score():
    ious = np.array([[[0.5, 0.6]], [[0.5, 0.6]], [[0.6, 0.2]], [[0.6, 0.2]], [[0.6, 0.2]]])
    assert best_setting(ious) == (0, 0)
    assert best_setting(ious[:4], strict=True) == (0, 0)
    classes = np.array([0, 0, 1, 1, 1])
    assert best_setting(ious[[0, 1, 2]], strict=True, classes=classes[:3]) == (0, 0)
    assert best_setting(ious[[0, 1, 2]], strict=True) == (0, 1)


def test_every_contour_counts_also_a_smaller_one_and_a_hole():
    grey = np.zeros((20, 20), np.uint8)
    grey[1:4, 1:4] = 200
    grey[6:18, 6:18] = 100
    grey[9:14, 9:14] = 0
    boxes = {tuple(map(int, box)) for box in contour_boxes(grey, 50)}
    assert boxes == {(1, 1, 4, 4), (6, 6, 18, 18), (8, 8, 15, 15)}
    assert contour_boxes(grey, 150).tolist() == [[1, 1, 4, 4]]
    assert contour_boxes(grey, 220).tolist() == [[0, 0, 0, 0]]


def test_a_contour_at_the_border_ends_at_the_last_pixel():
    grey = np.full((8, 8), 255, np.uint8)
    assert contour_boxes(grey, 0).tolist() == [[0, 0, 7, 7]]


def test_max_box_accuracy_takes_the_best_level_for_each_iou():
    """Two images, an object of 40 x 40; one map is too small at every level, one grows with a falling level."""
    first, second = np.zeros((100, 100)), np.zeros((100, 100))
    truth = np.array([[20, 20, 60, 60]])
    first[20:60, 20:45] = 1.0  # IoU about 0.63 at all levels
    second[20:60, 20:60] = 0.4  # exact below level 0.4, about 0.4 above
    second[20:60, 20:36] = 1.0
    ious = np.stack([contour_ious(scores, truth) for scores in (first, second)])
    assert ious.shape == (2, GREY_LEVELS)
    low, high = ious[:, 50], ious[:, 150]
    assert low == pytest.approx([26 * 41 / 41**2, 1]) and high == pytest.approx([26 * 41 / 41**2, 17 * 41 / 41**2])
    assert max_box_accuracy(ious) == pytest.approx(100 * (1 + 1 + 0.5) / 3)
    assert max_box_accuracy(ious, levels=[150] * 3) == pytest.approx(100 * (1 + 0.5 + 0) / 3)
    assert printed_box_accuracy(high) == pytest.approx(100 * (1 + 0.5 + 0) / 3)
    assert best_levels(ious) == [0, 0, 0]


def test_max_box_accuracy_sees_a_second_component_that_the_largest_box_misses():
    scores = np.zeros((100, 100))
    scores[5:95, 60:95] = 0.8
    scores[20:40, 10:30] = 1.0
    truth = np.array([[10, 20, 30, 40]])
    assert max_box_accuracy(contour_ious(scores, truth)[None]) == 100
    assert printed_box_accuracy(threshold_ious(scores, truth, [0.5])) == 0


def test_a_constant_map_localises_nothing_by_contours():
    assert (contour_ious(normalise(np.full((50, 50), 0.3)), np.array([[10, 10, 30, 30]])) == 0).all()


# --- pixels -----------------------------------------------------------------------------------------------------------


def golden_masks():
    y, x = np.mgrid[:224, :224]
    mask_a = ((x - 68) ** 2 + (y - 76) ** 2 < 40**2).astype(np.uint8)
    mask_a[120:170, 150:190][mask_a[120:170, 150:190] != 1] = 255
    mask_b = (2 * (x - 164) ** 2 + (y - 156) ** 2 < 60**2).astype(np.uint8)
    return {"A": mask_a, "B": mask_b}


@pytest.mark.parametrize(
    ("images", "pxap", "piou"),
    [("A", 97.2570116006, 87.179943101), ("B", 69.7128368841, 59.2908902692), ("AB", 79.9060286519, 68.4012066365)],
)
def test_pxap_and_piou_are_the_reference_evaluators(images, pxap, piou):
    masks = golden_masks()
    assert [(masks["A"] == v).sum() for v in (1, 0, 255)] == [5013, 43163, 2000]
    assert [(masks["B"] == v).sum() for v in (1, 0)] == [7987, 42189]
    histograms = sum(score_histograms(LARGE[name], masks[name]) for name in images)
    assert pixel_scores(histograms) == pytest.approx((pxap, piou), abs=1e-6)


def test_pxap_of_a_constant_map_is_the_share_of_object_pixels():
    mask = np.zeros((20, 20), np.uint8)
    mask[:5] = 1
    pxap, piou = pixel_scores(score_histograms(np.zeros((20, 20)), mask))
    assert (pxap, piou) == (pytest.approx(25), pytest.approx(25))


def test_pxap_is_one_hundred_for_the_mask_itself():
    mask = golden_masks()["B"]
    assert pixel_scores(score_histograms(mask.astype(float), mask)) == pytest.approx((100, 100))
