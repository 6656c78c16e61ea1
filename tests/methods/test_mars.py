"""MARS equation by equation. The worked example evaluates the paper's printed formulas in float64, D = 2."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.methods import mars

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


def polar(*pairs):
    """(angle in degrees, length) -> vectors [n, 2]."""
    angle, length = np.array(pairs, float).T
    return np.stack([length * np.cos(np.radians(angle)), length * np.sin(np.radians(angle))], axis=1)


BACKGROUND = polar((-90, 1), (-60, 2), (-120, 0.5), (-80, 1.5))
CLASS_1 = polar((10, 1), (80, 2), (45, 0.5), (-40, 1), (120, 1.5))
CLASS_2 = polar((170, 1), (-100, 1), (95, 3))
CENTROIDS, CLASSES = np.concatenate([CLASS_1, CLASS_2]), np.array([1] * 5 + [2] * 3, np.uint8)
LABELS = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [2, 2, 1, 1], [0, 0, 255, 1]], np.uint8)
DEBIASED = np.array([[0, 0, 254, 254], [0, 254, 254, 254], [254, 254, 1, 1], [0, 0, 255, 254]], np.uint8)
TAGS = torch.tensor([[True, True, False]])


def example_features():
    return polar(*((23 * p - 170, 1 + p / 4) for p in range(16))).T.reshape(2, 4, 4)


def example_centroids(**switches):
    distances = mars.background_distance(CENTROIDS, mars.mean_background(BACKGROUND))
    return mars.debiased_centroids(CENTROIDS, CLASSES, distances, num_classes=4, **switches)


def example_logits():
    order = torch.arange(16)[:, None] * 4 + torch.arange(4) + 1.0
    teacher, student = 1.5 * torch.sin(0.7 * order.double()), 1.2 * torch.cos(0.45 * order.double())
    return (t.T.reshape(1, 4, 4, 4) for t in (teacher, student))


# Patch labels and K-means


def test_patch_takes_the_majority_of_its_pixels():
    labels = np.zeros((4, 4), np.uint8)
    labels[:2, :2] = [[3, 3], [3, 0]]  # majority 3
    labels[:2, 2:] = [[2, 1], [1, 2]]  # tie of 1 and 2
    labels[2:, :2] = [[255, 255], [255, 1]]  # ignore wins
    labels[2:, 2:] = [[255, 255], [2, 2]]  # a class wins a tie with ignore
    assert mars.patch_labels(labels, (2, 2), 4).tolist() == [[3, 1], [255, 2]]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_patch_labels_equal_a_loop_over_cells_on_any_grid(h, w, height, width, seed):
    h, w = min(h, height), min(w, width)
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
    voted = mars.patch_labels(labels, (h, w), 3)
    rows, columns = [y * h // height for y in range(height)], [x * w // width for x in range(width)]
    for r in range(h):
        for c in range(w):
            cell = [labels[y, x] for y in range(height) for x in range(width) if (rows[y], columns[x]) == (r, c)]
            assert voted[r, c] == max((0, 1, 2, 255), key=lambda label: (cell.count(label), -label))


def test_patch_labels_refuse_a_grid_finer_than_the_image_and_unknown_ids():
    with pytest.raises(ValueError, match="without a pixel"):
        mars.patch_labels(np.zeros((4, 4), np.uint8), (5, 4), 2)
    with pytest.raises(ValueError, match="label 7 is out of range"):
        mars.patch_labels(np.full((4, 4), 7, np.uint8), (2, 2), 3)


def two_blob_image(seed=0, size=8):
    """Background: one direction. Class 5, the right half: two directions, long and short vectors of each."""
    rng = np.random.default_rng(seed)
    features = np.zeros((3, size, size))
    features[0] = 1
    half = size // 2
    features[:, :half, half:] = np.array([0, 1, 0])[:, None, None] * rng.uniform(0.5, 8, (half, half))
    features[:, half:, half:] = np.array([0, 0, 1])[:, None, None] * rng.uniform(0.5, 8, (half, half))
    labels = np.zeros((size, size), np.uint8)
    labels[:, half:] = 5
    return features + rng.normal(0, 1e-3, features.shape), labels


def test_kmeans_finds_the_two_parts_of_an_object():
    features, labels = two_blob_image()
    centroids, classes, counts = mars.image_centroids(features, labels, seed=0)
    assert centroids.dtype == np.float32 and centroids.shape == (4, 3)
    assert classes.dtype == np.uint8 and classes.tolist() == [0, 0, 5, 5]
    assert counts[:2].sum() == 32 and counts[2:].tolist() == [16, 16]
    foreground = centroids[2:][np.argsort(-centroids[2:, 1])]
    np.testing.assert_allclose(foreground, [[0, 1, 0], [0, 0, 1]], atol=5e-3)


def test_number_of_centroids_follows_k_of_foreground_and_background():
    features, labels = two_blob_image()
    _, classes, _ = mars.image_centroids(features, labels, k_foreground=3, k_background=1, seed=0)
    assert classes.tolist() == [0, 5, 5, 5]


def test_kmeans_is_a_function_of_its_seed():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(16, 40, 30)), rng.integers(0, 3, (160, 120), np.uint8)
    first, again, other = (mars.image_centroids(features, labels, seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_spherical_kmeans_ignores_lengths_and_euclidean_does_not():
    features, labels = two_blob_image()
    scaled = features * np.random.default_rng(2).uniform(0.2, 5, (8, 8))

    def centroids(f, kmeans):
        return mars.image_centroids(f, labels, kmeans=kmeans, seed=0)[0]

    np.testing.assert_allclose(centroids(features, "spherical"), centroids(scaled, "spherical"), atol=1e-6)
    assert np.abs(centroids(features, "euclidean") - centroids(scaled, "euclidean")).max() > 0.1
    mean = centroids(features, "euclidean")[:2].mean(axis=0)
    np.testing.assert_allclose(mean, [1, 0, 0], atol=5e-3)


def test_a_region_of_one_patch_is_repeated_or_skipped():
    features, labels = two_blob_image()
    labels[0, 0] = 7
    centroids, classes, counts = mars.image_centroids(features, labels, few_samples="repeat", seed=0)
    assert classes.tolist() == [0, 0, 5, 5, 7, 7] and counts[-2:].tolist() == [1, 1]
    vector = features[:, 0, 0] / np.linalg.norm(features[:, 0, 0])
    np.testing.assert_allclose(centroids[-2:], [vector, vector], rtol=1e-6)
    _, classes, _ = mars.image_centroids(features, labels, few_samples="skip", seed=0)
    assert classes.tolist() == [0, 0, 5, 5]


def test_identical_vectors_give_equal_finite_centroids():
    features = np.ones((3, 4, 4), np.float32)
    centroids, classes, counts = mars.image_centroids(features, np.zeros((4, 4), np.uint8), seed=0)
    np.testing.assert_allclose(centroids, np.full((2, 3), 3**-0.5), rtol=1e-6)
    assert classes.tolist() == [0, 0] and counts.sum() == 16


def test_samples_are_patches_or_upsampled_pixels():
    features, _ = two_blob_image()
    labels = np.zeros((16, 16), np.uint8)
    labels[5, 5] = 9  # one pixel of four: no patch votes for it
    _, classes, counts = mars.image_centroids(features, labels, samples="patches", seed=0)
    assert classes.tolist() == [0, 0] and counts.sum() == 64
    centroids, classes, counts = mars.image_centroids(features, labels, samples="pixels", kmeans="euclidean", seed=0)
    assert classes.tolist() == [0, 0, 9, 9] and counts.sum() == 255 + 2
    np.testing.assert_allclose(centroids[2], mars.upsampled(features, (16, 16))[:, 5, 5], rtol=1e-6)


def test_an_image_of_ignored_pixels_has_no_centroids():
    centroids, classes, counts = mars.image_centroids(np.ones((3, 2, 2)), np.full((4, 4), 255, np.uint8), seed=0)
    assert centroids.shape == (0, 3) and classes.shape == counts.shape == (0,)


@pytest.mark.parametrize("switch", ["samples", "kmeans", "few_samples"])
def test_misspelt_switch_is_named_with_its_options(switch):
    with pytest.raises(ValueError, match=f"{switch} is 'other'; choose one of"):
        mars.image_centroids(np.ones((3, 2, 2)), np.zeros((4, 4), np.uint8), seed=0, **{switch: "other"})


# Eq. 1-3


def test_mean_background_and_distances_of_the_worked_example():
    mean = mars.mean_background(BACKGROUND)
    np.testing.assert_allclose(mean, [0.0434120444167, -0.929214640145], **CLOSE)
    expected = [0.559301955503, 0.953779679713, 0.813178511116, 0.184728393593, 0.913214753071]
    np.testing.assert_allclose(mars.background_distance(CLASS_1, mean), expected, **CLOSE)
    expected = [0.602054473419, 0.0462203202871, 0.964731153439]
    np.testing.assert_allclose(mars.background_distance(CLASS_2, mean), expected, **CLOSE)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 8))
def test_distance_to_the_mean_background_equals_the_mean_of_all_distances(seed, n, n_background, dimension):
    rng = np.random.default_rng(seed)
    centroids, background = rng.normal(size=(n, dimension)), rng.normal(size=(n_background, dimension))
    explicit = np.zeros(n)
    for k, v in enumerate(centroids):
        for other in background:
            similarity = v @ other / (np.linalg.norm(v) * np.linalg.norm(other))
            explicit[k] += (1 - similarity) / 2 / n_background
    identity = mars.background_distance(centroids, mars.mean_background(background))
    np.testing.assert_allclose(identity, explicit, atol=1e-12)


@pytest.mark.parametrize(("images", "kept"), [(1, 1), (2, 2), (3, 3), (5, 4), (87, 70)])
def test_ceil_rule_of_two_centroids_per_image(images, kept):
    assert mars.selected_count(2 * images, 0.4) == kept


def test_ceil_rule_reads_alpha_as_a_decimal_number():
    assert [mars.selected_count(n, 0.4) for n in range(1, 13)] == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5]
    assert math.ceil(100 * 0.07) == 8  # what binary floating point makes of it
    assert mars.selected_count(100, 0.07) == 7


def test_debiased_centroids_of_the_worked_example():
    class_centroids, selected = example_centroids(alpha=0.4)
    np.testing.assert_allclose(class_centroids[1], [-0.201351822333, 1.63432680585], **CLOSE)
    np.testing.assert_allclose(class_centroids[2], [-0.623137490628, 1.58111613597], **CLOSE)
    assert np.flatnonzero(selected).tolist() == [1, 4, 5 + 0, 5 + 2]
    assert np.isnan(class_centroids[[0, 3]]).all()


def test_centroids_may_be_normalised_before_their_mean():
    class_centroids, selected = example_centroids(alpha=0.4, normalise_centroids=True)
    np.testing.assert_allclose(class_centroids[1], [-0.163175911167, 0.925416578398], **CLOSE)
    np.testing.assert_allclose(class_centroids[2], [-0.53598174788, 0.584921437879], **CLOSE)
    assert np.flatnonzero(selected).tolist() == [1, 4, 5, 7]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.permutations(range(24)), st.integers(1, 5))
def test_debiased_centroids_do_not_depend_on_the_order_or_sharding_of_images(seed, order, shards):
    rng = np.random.default_rng(seed)
    centroids, classes = rng.normal(size=(24, 5)), rng.integers(0, 4, 24).astype(np.uint8)
    classes[0] = 0

    def run(rows):
        mean = mars.mean_background(centroids[rows][classes[rows] == 0])
        distances = mars.background_distance(centroids[rows], mean)
        class_centroids, selected = mars.debiased_centroids(centroids[rows], classes[rows], distances, num_classes=4)
        return class_centroids, set(rows[selected])

    class_centroids, selected = run(np.arange(24))
    for rows in (np.array(order), np.concatenate([np.arange(24)[s::shards] for s in range(shards)])):
        other, other_selected = run(rows)
        np.testing.assert_allclose(other, class_centroids, atol=1e-12)
        assert other_selected == selected


# Eq. 4-5

LIKELIHOOD = """0.1995392200 0 0 0 0 0 0 0 0.1214614842 0.4996440978 0.7983881497 0.9701962358
    0.9953794295 0.9537694989 0.7605194761 0.4463542388"""


def test_object_likelihood_of_the_worked_example():
    class_centroids, _ = example_centroids()
    likelihood = mars.object_likelihood(example_features(), class_centroids, [1, 2])
    np.testing.assert_allclose(likelihood.ravel(), np.array(LIKELIHOOD.split(), float), atol=1e-10)


def test_object_likelihood_looks_only_at_the_classes_of_the_image():
    class_centroids, _ = example_centroids()
    alone = mars.object_likelihood(example_features(), class_centroids, [2])
    assert alone[2, 2] == pytest.approx(0.6223778290, abs=1e-10)  # S to V^2; to V^1 it is 0.798
    unknown = mars.object_likelihood(example_features(), class_centroids, [2, 3])  # class 3 has no centroid
    np.testing.assert_array_equal(unknown, alone)
    assert not mars.object_likelihood(example_features(), class_centroids, [3]).any()


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_rounding_makes_no_likelihood_larger_than_one(precision):
    """The complement of a larger one would be a negative probability."""
    rng = np.random.default_rng(0)
    class_centroids = rng.normal(size=(2, 16))
    parallel = class_centroids[1][:, None, None] * rng.uniform(0.1, 9, (40, 40))
    likelihood = mars.object_likelihood(parallel.astype(precision), class_centroids, [1])
    assert likelihood.max() == 1 and likelihood.min() > 1 - 1e-6


def test_object_likelihood_of_half_precision_features_is_computed_in_single():
    class_centroids, _ = example_centroids()
    half = mars.object_likelihood(example_features().astype(np.float16), class_centroids, [1, 2])
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.ravel(), np.array(LIKELIHOOD.split(), float), atol=2e-3)


def test_debiased_labels_of_the_worked_example():
    likelihood = np.array(LIKELIHOOD.split(), float).reshape(4, 4)
    debiased_labels = mars.debias(LABELS, likelihood > 0.5)
    assert debiased_labels.dtype == np.uint8
    np.testing.assert_array_equal(debiased_labels, DEBIASED)
    assert (debiased_labels == 254).sum() == 8


@pytest.mark.parametrize(
    ("label", "mask", "expected"),
    [(0, 0, 0), (0, 1, 0), (1, 0, -1), (1, 1, 1), (20, 0, -1), (20, 1, 20), (255, 0, 255), (255, 1, 255)],
)
@pytest.mark.parametrize(("biased", "dtype"), [(254, np.uint8), (-1, np.int16)])
def test_truth_table_of_eq_5_in_both_encodings(label, mask, expected, biased, dtype):
    debiased_labels = mars.debias(np.array([[label]], np.uint8), np.array([[mask]], bool), biased)
    assert debiased_labels.dtype == dtype
    assert debiased_labels.item() == (biased if expected == -1 else expected)


def test_background_probability_is_the_complement_or_its_power():
    likelihood = np.array([[0.0, 0.25, 0.5, 1.0]])
    complement = mars.likelihood_probabilities(likelihood)
    np.testing.assert_allclose(complement, [1 - likelihood, likelihood])
    power = mars.likelihood_probabilities(likelihood, background="power", gamma=2)
    np.testing.assert_allclose(power[1], [[0, 0.25 / (0.25 + 0.75**2), 0.5 / (0.5 + 0.25), 1]])
    np.testing.assert_allclose(power.sum(axis=0), 1)


def test_likelihood_is_rescaled_by_its_maximum_or_not():
    likelihood = np.array([[0.0, 0.2, 0.4]])
    np.testing.assert_allclose(mars.likelihood_probabilities(likelihood, rescale="none")[1], likelihood)
    np.testing.assert_allclose(mars.likelihood_probabilities(likelihood, rescale="max")[1], [[0, 0.5, 1]])
    assert not mars.likelihood_probabilities(np.zeros((2, 2)), rescale="max")[1].any()


# Eq. 6-7

WEIGHT = """1 1 0.3759597636 0.2146620134 1 0.2643955650 0.2399475472 0.3497260743 0.2047260006 0.3632523798
    1 1 1 1 1 0.2456175183"""


@pytest.mark.parametrize(
    ("label_space", "teacher", "complemented"),
    [
        ("image", "1 0 2 0 2 0 2 0 2 1 0 2 0 2 0 2", "0 0 2 0 0 0 2 0 2 1 1 1 0 0 255 2"),
        ("all", "1 0 2 0 3 0 3 0 3 1 0 2 0 3 0 3", "0 0 2 0 0 0 3 0 3 1 1 1 0 0 255 3"),
    ],
)
def test_complemented_labels_of_the_worked_example(label_space, teacher, complemented):
    probabilities = next(example_logits()).softmax(dim=1)
    labels = mars.teacher_labels(probabilities, TAGS, label_space=label_space)
    assert labels.flatten().tolist() == list(map(int, teacher.split()))
    result = mars.complement(torch.from_numpy(DEBIASED)[None], labels)
    assert result.dtype == torch.int64
    assert result.flatten().tolist() == list(map(int, complemented.split()))


@pytest.mark.parametrize("biased", [254, -1])
def test_certainty_weight_of_the_worked_example(biased):
    probabilities = next(example_logits()).softmax(dim=1)
    debiased_labels = torch.from_numpy(DEBIASED.astype(np.int16))[None]
    debiased_labels[debiased_labels == 254] = biased
    weight = mars.certainty_weight(probabilities, debiased_labels, TAGS, biased)
    np.testing.assert_allclose(weight.flatten(), np.array(WEIGHT.split(), float), atol=1e-10)


def test_biased_pixel_that_the_teacher_calls_background_weighs_its_foreground_probability():
    probabilities = torch.tensor([0.7, 0.1, 0.15, 0.05])[None, :, None, None]
    debiased_labels = torch.tensor([[[254]]], dtype=torch.uint8)
    assert mars.certainty_weight(probabilities, debiased_labels, torch.tensor([[True, False, True]])).item() == (
        pytest.approx(0.1)  # the 0.15 belongs to a class that the image does not have
    )


@pytest.mark.parametrize(
    ("label_space", "expected"),
    [
        ("image", {"sum": 12.3939627482, "valid": 0.826264183211, "weight": 1.33868856439}),
        ("all", {"sum": 12.301649022, "valid": 0.820109934801, "weight": 1.32871763482}),
    ],
)
def test_weighted_cross_entropy_of_the_worked_example(label_space, expected):
    teacher, student = example_logits()
    probabilities, debiased_labels = teacher.softmax(dim=1), torch.from_numpy(DEBIASED)[None]
    labels = mars.complement(debiased_labels, mars.teacher_labels(probabilities, TAGS, label_space=label_space))
    weight = mars.certainty_weight(probabilities, debiased_labels, TAGS)
    for normalise, value in expected.items():
        loss = mars.weighted_cross_entropy(student, labels, weight, normalise=normalise)
        assert loss.item() == pytest.approx(value, rel=1e-9)


def test_unit_weights_give_the_plain_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 6, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (2, 6, 7), generator=generator)
    labels[0, :2] = 255
    loss = mars.weighted_cross_entropy(logits, labels, torch.ones(2, 6, 7), normalise="valid")
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels, ignore_index=255).item(), rel=1e-12)


def test_a_single_valid_pixel_is_divided_by_one_or_by_its_weight():
    labels = torch.tensor([[[255, 2], [255, 255]]])
    inputs = torch.zeros(1, 3, 2, 2), labels, torch.full((1, 2, 2), 0.25)
    losses = {name: mars.weighted_cross_entropy(*inputs, normalise=name).item() for name in ("valid", "sum", "weight")}
    assert losses == pytest.approx({"valid": math.log(3) / 4, "sum": math.log(3) / 4, "weight": math.log(3)})


@pytest.mark.parametrize("normalise", ["valid", "sum", "weight"])
def test_a_batch_without_valid_pixels_has_zero_loss(normalise):
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), 255)
    loss = mars.weighted_cross_entropy(logits, labels, torch.ones(1, 2, 2), normalise=normalise)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
