"""The lattice against a plain dictionary of vertices, and its filter against the Gaussian it approximates."""

from collections import defaultdict

import numpy as np
import pytest

from maskmill.refinement.permutohedral import build_lattice, filter_planes


def points(dimensions, number=60, spread=1.5):
    return np.random.default_rng(0).uniform(0, spread, (dimensions, number)).astype(np.float32)


def dictionary_filter(features):
    """Matrix of the filter [to, from] and number of vertices, from the definitions, in float64."""
    d, number = features.shape
    directions = [tuple(1 - (d + 1) * (i == j) for i in range(d + 1)) for j in range(d + 1)]
    splat = defaultdict(lambda: np.zeros(number))
    corners = []
    for pixel, feature in enumerate(features.T.astype(np.float64)):
        feature = feature * np.sqrt(2 / 3) * (d + 1) / np.sqrt([(i + 1) * (i + 2) for i in range(d)])
        point = np.array([feature[i:].sum() - (i * feature[i - 1] if i else 0) for i in range(d + 1)])
        vertex = (d + 1) * np.rint(point / (d + 1))
        surplus = round(vertex.sum() / (d + 1))
        order = np.argsort(vertex - point)
        vertex[order[::-1][:surplus] if surplus > 0 else order[:-surplus]] -= np.sign(surplus) * (d + 1)
        over = np.sort(point - vertex)[::-1] / (d + 1)
        order = np.argsort(vertex - point)
        shares = np.append(over[:-1] - over[1:], 1 - over[0] + over[-1])
        for r in range(d + 1):
            # one step along the directions of the r + 1 smallest remainders; all d + 1 steps lead back
            corner = vertex + np.sum([directions[i] for i in order[d - r :]], axis=0)
            corners.append((tuple(corner.astype(int)), pixel, shares[d - 1 - r] if r < d else shares[d]))
            splat[corners[-1][0]][pixel] += corners[-1][2]
    for step in directions:
        moved = {vertex: [tuple(np.add(vertex, sign * np.array(step))) for sign in (-1, 1)] for vertex in splat}
        splat = {v: splat[v] + sum(splat[n] for n in near if n in splat) / 2 for v, near in moved.items()}
    kernel = np.zeros((number, number))
    for vertex, pixel, share in corners:
        kernel[pixel] += share * splat[vertex]
    scale = 1 / np.sqrt(kernel.sum(axis=1))
    return scale[:, None] * kernel * scale, len(splat)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_filter_is_that_of_a_dictionary_of_vertices(dimensions):
    features = points(dimensions)
    expected, vertices = dictionary_filter(features)
    lattice = build_lattice(features)
    assert lattice.size == vertices
    np.testing.assert_allclose(filter_planes(lattice, np.eye(60, dtype=np.float32)).T, expected, atol=2e-6)
    np.testing.assert_allclose(lattice.gain, expected.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 5])
def test_filter_approximates_the_gaussian(dimensions):
    """The lattice's own error is 10-11 % here."""
    features = points(dimensions, number=2000)
    apart = ((features[:, :, None] - features[:, None]) ** 2).sum(axis=0)
    exact = np.exp(-apart / 2)
    scale = 1 / np.sqrt(exact.sum(axis=1))
    plane = np.cos(3 * features[0])[None]
    exact = plane[0] @ (scale[:, None] * exact * scale)
    assert np.abs(filter_planes(build_lattice(features), plane)[0] - exact).sum() < 0.15 * np.abs(exact).sum()


def test_vertices_that_take_61_of_63_bits_keep_their_neighbours():
    """Clusters at the corners of a wide box: 30 points share each of two corners, far from each other."""
    features = points(5) + 400 * (np.arange(60) % 2).astype(np.float32)
    expected, vertices = dictionary_filter(features)
    lattice = build_lattice(features)
    assert lattice.size == vertices
    np.testing.assert_allclose(filter_planes(lattice, np.eye(60, dtype=np.float32)).T, expected, atol=5e-4)


def test_pixels_far_apart_keep_their_values():
    """Every pixel has corners of its own, more than the hash table holds at first."""
    features = np.stack(np.meshgrid(*[np.arange(4) * 20.0] * 5)).reshape(5, -1).astype(np.float32) + 0.3
    lattice = build_lattice(features)
    assert lattice.size == 6 * 4**5
    plane = np.sin(np.arange(4**5, dtype=np.float32))[None]
    np.testing.assert_allclose(filter_planes(lattice, plane), plane, rtol=1e-5)


def test_pixels_at_one_point_share_their_mean():
    lattice = build_lattice(np.full((5, 8), 0.7, np.float32))
    assert lattice.size == 6
    np.testing.assert_allclose(filter_planes(lattice, np.arange(8, dtype=np.float32)[None]), 3.5, rtol=1e-5)


def test_a_shift_by_a_lattice_vector_changes_nothing():
    """sqrt(3) along the first of two features moves a point by 3 along direction 1 less direction 0."""
    features = points(2)
    shifted = features - np.array([[7 * np.sqrt(3)], [0]], np.float32)
    ours, theirs = (filter_planes(build_lattice(f), np.eye(60, dtype=np.float32)) for f in (features, shifted))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_too_many_standard_deviations_are_refused():
    with pytest.raises(ValueError, match="raise sxy or srgb"):
        build_lattice(points(5, spread=1e5))
