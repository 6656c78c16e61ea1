"""IRN's random walk. Golden numbers: one float64 run of `misc/indexing.py` in IRN's released code."""

from itertools import groupby

import numpy as np
import pytest

from fills import digest
from maskmill.refinement.paths import paths
from maskmill.refinement.random_walk import affinity, random_walk, transition, walk_labels, walk_scores


def sines(function, step, *shape):
    return function(step * np.arange(1, np.prod(shape) + 1)).reshape(shape)


@pytest.fixture
def edge():
    return 0.5 + 0.5 * sines(np.sin, 0.13, 20, 24)


@pytest.fixture
def cam():
    return np.abs(sines(np.cos, 0.07, 2, 20, 24))


def index_arrays(radius, size):
    """Flat pixel numbers of sources, destinations and path cells on a map, in the authors' layout."""
    height, width = size
    reach = radius - 1
    number = np.arange(height * width).reshape(size)

    def at(cell):
        top, left = cell[0], reach + cell[1]
        return number[top : top + height - reach, left : left + width - 2 * reach].ravel()

    groups = [list(group) for _, group in groupby(paths(radius), key=lambda path: len(path[1]))]
    cells = [np.array([[at(cell) for cell in way] for _, way in group]) for group in groups]
    return at((0, 0)), np.array([at(offset) for offset, _ in paths(radius)]), cells


@pytest.mark.parametrize(
    ("radius", "per_group", "cells_per_path", "sums", "sha"),
    [
        (5, [2, 2, 4, 2, 4, 2, 8, 6, 4], [2, 3, 4, 5, 6, 7, 8, 10, 11], [68, 10], "85b0b78a8056d1e0"),
        (
            10,
            [2, 2, 4, 2, 6, 4, 10, 2, 12, 4, 12, 2, 8, 8, 22, 16, 6, 20, 4, 6],
            [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22],
            [639, 45],
            "4eeae313c486b031",
        ),
    ],
)
def test_paths_are_the_reference_half_disc_in_its_order(radius, per_group, cells_per_path, sums, sha):
    offsets = np.array([offset for offset, _ in paths(radius)])
    lengths = [len(cells) for _, cells in paths(radius)]
    assert [lengths.count(length) for length in cells_per_path] == per_group
    assert lengths == sorted(lengths)
    assert offsets.sum(0).tolist() == sums
    assert digest(offsets) == sha


def test_cells_run_from_the_destination_to_the_source():
    assert [cells for _, cells in paths(5)[:5]] == [
        ((0, 1), (0, 0)),
        ((1, 0), (0, 0)),
        ((0, 2), (0, 1), (0, 0)),
        ((2, 0), (1, 0), (0, 0)),
        ((0, 3), (0, 2), (0, 1), (0, 0)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("radius", "size", "sources", "source_sha", "destination_sha", "destination_sum", "cells_sha"),
    [
        (5, (16, 16), 96, "46905e3c3aff4890", "046490f02ea0b908", 417120, "6afe1dca1919f998"),
        (5, (24, 28), 400, "1dfbee9cfbe6d80d", "9cdc14b02def3f02", 4566800, "1e388fca14564690"),
        (5, (32, 32), 672, "71c49aa05f8237e4", "4e810b953f849ff0", 11693472, "2e3f4f89aae37599"),
        (5, (128, 128), 14880, "cff02e1cba2d9204", "95e0231add8fe7c5", 4144392480, "0cfc5cdb9f2dfe1d"),
        (10, (24, 28), 150, "4e01189795c53022", "31a13a38fcf1678f", 7467150, "aef5ea91359d15a4"),
        (10, (32, 32), 322, "35482b60380dc701", "d43860aa15dd2889", 24585666, "4755e02809528d69"),
        (10, (128, 128), 13090, "acb8550da79b95be", "f5c65026f767ca3b", 16223654370, "79efce22874ca8b3"),
    ],
)
def test_paths_on_a_map_are_the_reference_index(
    radius, size, sources, source_sha, destination_sha, destination_sum, cells_sha
):
    source, destination, cells = index_arrays(radius, size)
    assert source.shape == (sources,)
    assert digest(source) == source_sha
    assert destination.sum() == destination_sum
    assert digest(destination) == destination_sha
    assert digest(np.concatenate([group.ravel() for group in cells])) == cells_sha


def test_affinity_is_the_reference_dense_affinity_after_cropping(edge):
    dense = affinity(edge, 5).toarray()
    assert dense.mean() == pytest.approx(0.0215804551933, rel=1e-9)
    assert dense.sum() == pytest.approx(4972.13687653, rel=1e-9)
    assert dense[250].sum() == pytest.approx(2.25948382977, rel=1e-9)
    assert np.count_nonzero(dense > 0) == 27376
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(dense.diagonal(), 1)


def test_transition_is_the_reference_matrix(edge):
    dense = transition(affinity(edge, 5), beta=10).toarray()
    np.testing.assert_allclose(dense.sum(0), 1, rtol=1e-12)
    picked = [dense[0, 0], dense[-1, -1], dense[250, 250], dense[251, 250]]
    np.testing.assert_allclose(picked, [0.998708118874, 0.885804219333, 1, 1.17677919766e-19], rtol=1e-9)


@pytest.mark.parametrize("size", [(20, 24), (3, 2), (1, 9), (9, 1)])
def test_affinity_of_a_pair_is_one_minus_the_strongest_cell_between(size):
    edge = np.random.default_rng(0).random(size)
    expected = np.eye(edge.size).reshape(*size, *size)
    for y, x in np.ndindex(size):
        for (dy, dx), cells in paths(5):
            if y + dy < size[0] and 0 <= x + dx < size[1]:
                strongest = max(edge[y + cell[0], x + cell[1]] for cell in cells)
                expected[y, x, y + dy, x + dx] = expected[y + dy, x + dx, y, x] = 1 - strongest
    np.testing.assert_allclose(affinity(edge, 5).toarray(), expected.reshape(edge.size, edge.size), rtol=1e-12)


def test_sparse_walk_equals_dense_power(edge, cam):
    power = np.linalg.matrix_power(transition(affinity(edge, 5), 10).toarray(), 256)
    expected = ((cam * (1 - edge)).reshape(2, -1) @ power).reshape(cam.shape)
    walked = random_walk(cam, edge, radius=5, beta=10, exp_times=8)
    assert walked.dtype == np.float64
    np.testing.assert_allclose(walked, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("exp_times", "mean", "first", "last"),
    [
        (8, 0.367824367351, 0.443656416706, 0.734753910269),
        (4, 0.351796332247, 0.431485835044, 0.603081266925),
        (1, 0.3401996457, 0.433752892085, 0.284323535054),
    ],
)
def test_walk_is_the_reference_walk(edge, cam, exp_times, mean, first, last):
    walked = random_walk(cam, edge, radius=5, beta=10, exp_times=exp_times)
    np.testing.assert_allclose([walked.mean(), walked[0, 0, 0], walked[-1, -1, -1]], [mean, first, last], rtol=1e-9)


def test_walk_spreads_each_class_as_the_reference(edge, cam):
    walked = random_walk(cam, edge, radius=5, beta=10, exp_times=8)
    np.testing.assert_allclose(walked.sum((1, 2)), [176.438552512, 176.672840145], rtol=1e-9)
    assert digest(walked.argmax(0)) == "4bd8f07ebd251b52"


def test_float32_walk_is_the_float64_walk_to_the_reference_accuracy(edge, cam):
    walked = random_walk(cam.astype(np.float32), edge.astype(np.float32), radius=5, beta=10, exp_times=8)
    assert walked.dtype == np.float32
    reference = [0.367824367351, 0.443656416706, 0.734753910269]
    np.testing.assert_allclose([walked.mean(), walked[0, 0, 0], walked[-1, -1, -1]], reference, rtol=1e-4)
    assert digest(walked.argmax(0)) == "4bd8f07ebd251b52"


def test_a_closed_boundary_keeps_the_scores_inside():
    edge = np.zeros((9, 9))
    edge[:, 4] = 1
    cam = np.zeros((1, 9, 9))
    cam[0, 4, 1] = 1
    walked = random_walk(cam, edge, radius=5, beta=10, exp_times=8)[0]
    assert (walked[:, :4] > 0).all()
    assert not walked[:, 4:].any()


def test_every_step_is_an_average():
    edge = np.random.default_rng(0).random((9, 11))
    step = random_walk(np.ones((1, 9, 11)) / (1 - edge), edge, radius=5, beta=10, exp_times=3)
    np.testing.assert_allclose(step, 1, rtol=1e-12)


def test_walk_labels_are_the_reference_labels(edge, cam):
    walked = random_walk(cam, edge, radius=5, beta=10, exp_times=8)
    scores = walk_scores(walked, (77, 93))
    expected = [0.456231029898, 0.558493499877, 0.695886760835]
    np.testing.assert_allclose([scores.mean(), scores[0, 0, 0], scores[-1, -1, -1]], expected, rtol=1e-9)
    labels = walk_labels(walked, classes=(1, 2), size=(77, 93), background=0.25)
    assert labels.dtype == np.uint8
    assert np.bincount(labels.ravel()).tolist() == [1150, 3129, 2882]
    assert digest(labels) == "c7748e1c648ead7e"


def test_walk_labels_carry_the_mask_ids_of_the_classes(edge, cam):
    walked = random_walk(cam, edge, radius=5, beta=10, exp_times=1)
    numbered = walk_labels(walked, classes=(1, 2), size=(80, 96), background=0.25)
    np.testing.assert_array_equal(
        walk_labels(walked, classes=(7, 20), size=(80, 96), background=0.25), np.array([0, 7, 20])[numbered]
    )


@pytest.mark.parametrize("num_classes", [0, 1])
def test_an_image_without_scores_is_background(num_classes):
    walked = np.zeros((num_classes, 5, 6))
    labels = walk_labels(walked, classes=range(1, num_classes + 1), size=(18, 23), background=0.25)
    np.testing.assert_array_equal(labels, np.zeros((18, 23)))
