"""IRN's labels and losses. Golden numbers: one float64 run of the released code."""

import numpy as np
import pytest
import torch

from fills import digest
from maskmill.methods.irn import affinity, affinity_labels, displacement_difference, losses, pair_labels
from maskmill.refinement.dense_crf import dense_crf, label_unary
from maskmill.refinement.paths import paths


def label_maps():
    y, x = np.ogrid[:32, :32]
    label_a = (x // 8 + 2 * (y // 10)) % 4
    label_a[12:16, 20:28] = 255
    return np.stack([label_a, label_a[:, ::-1]])


def waves(function, step, *shape):
    return function(step * torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float64)).view(shape)


@pytest.fixture
def labels():
    return torch.from_numpy(label_maps())


@pytest.fixture
def edge():
    return (1.5 * waves(torch.sin, 0.13, 2, 1, 32, 32) - 0.4).requires_grad_()


@pytest.fixture
def displacement():
    return (2 * waves(torch.cos, 0.19, 2, 2, 32, 32)).requires_grad_()


def test_label_map_is_that_of_the_reference_run():
    assert digest(label_maps()[0]) == "01aed3383e8c4eea"


@pytest.mark.parametrize(
    ("radius", "sources", "golden"),
    [
        (5, 672, [(2454, 10626, 8100, 1668), (2634, 10486, 8100, 1628)]),
        (10, 322, [(1857, 11037, 32194, 3856), (1815, 11107, 32342, 3680)]),
    ],
)
def test_pair_labels_have_the_reference_counts(labels, radius, sources, golden):
    pairs = pair_labels(labels, paths(radius))
    for item, (background, foreground, negative, invalid) in enumerate(golden):
        counts = [mask[item].sum().item() for mask in pairs]
        assert counts == [background, foreground, negative]
        assert pairs.background[item].numel() == sum(counts) + invalid == len(paths(radius)) * sources


def test_affinity_is_the_reference_affinity_on_a_padded_map():
    # Section of the random walk: the reference pads the edge map with 1 before it measures pairs.
    edge = 0.5 + 0.5 * waves(torch.sin, 0.13, 20, 24)
    padded = torch.nn.functional.pad(edge, (5, 5, 0, 5), value=1.0)[None]
    a = affinity(padded, paths(5))
    assert a.flatten(2).shape == (1, 34, 546)
    assert a.mean().item() == pytest.approx(0.120990542893, rel=1e-9)
    assert a.max().item() == pytest.approx(0.998606143566, rel=1e-9)
    assert a[0, 0, 0, 0] == a[0, -1, -1, -1] == 0


@pytest.mark.parametrize(
    ("radius", "positive", "negative", "foreground", "background"),
    [
        (
            5,
            [1.13225478396, 1.07326073041, 1.3229158784],
            [0.45355559106, 0.418355656323, 0.30970616871],
            [2.09152103161, 0.328177171011, 1.26002062772],
            [0.683321162546, 0.328177171011, 0.73997937228],
        ),
        (
            10,
            [1.23901505743, 1.37618018813, 1.38728348543],
            [0.371275849747, 0.291049567477, 0.287325924116],
            [4.32582871563, 0.345798691685, 0.685815691633],
            [1.3189158811, 0.345798691685, 2.31418430837],
        ),
    ],
)
def test_terms_of_all_pairs_are_the_reference_terms(
    edge, displacement, radius, positive, negative, foreground, background
):
    def summary(values):
        return [values.mean().item(), values.flatten()[0].item(), values.flatten()[-1].item()]

    index = paths(radius)
    a = affinity(edge[:, 0].sigmoid(), index)
    differences = torch.stack([displacement_difference(displacement, path[0], radius - 1) for path in index], dim=2)
    targets = torch.tensor([path[0] for path in index]).T[:, :, None, None]
    assert summary(-(a + 1e-5).log()) == pytest.approx(positive, rel=1e-9)
    assert summary(-(1 + 1e-5 - a).log()) == pytest.approx(negative, rel=1e-9)
    assert summary((differences - targets).abs()) == pytest.approx(foreground, rel=1e-9)
    assert summary(differences.abs()) == pytest.approx(background, rel=1e-9)


@pytest.mark.parametrize(
    ("radius", "items", "parts", "edge_gradient", "displacement_gradient"),
    [
        (
            5,
            1,
            [1.10376913184, 0.437314190648, 1.91867196192, 0.587620478965, 2.02368788168],
            0.0238106341966,
            0.0317217569102,
        ),
        (
            5,
            2,
            [1.09503922955, 0.432013370543, 1.93824927186, 0.555378465052, 2.0103401685],
            0.0167334461502,
            0.0204793980652,
        ),
        (
            10,
            1,
            [1.18868210223, 0.351881968586, 3.13466113521, 0.869198826489, 2.77221201626],
            0.0412638076888,
            0.0563995244641,
        ),
        (
            10,
            2,
            [1.16320414409, 0.355406407242, 3.16315740117, 1.1094041617, 2.8955860571],
            0.0273600787257,
            0.0406005508832,
        ),
    ],
)
def test_losses_and_gradients_are_the_reference_ones(
    edge, displacement, labels, radius, items, parts, edge_gradient, displacement_gradient
):
    result = losses(edge[:items], displacement[:items], labels[:items], paths(radius))
    names = ["positive", "negative", "displacement_foreground", "displacement_background", "total"]
    assert [result[name].item() for name in names] == pytest.approx(parts, rel=1e-9)
    result["total"].backward()
    assert edge.grad.norm().item() == pytest.approx(edge_gradient, rel=1e-9)
    assert displacement.grad.norm().item() == pytest.approx(displacement_gradient, rel=1e-9)


def test_float32_losses_are_the_reference_ones(edge, displacement, labels):
    result = losses(edge.float(), displacement.float(), labels, paths(10))
    assert result["total"].item() == pytest.approx(2.8955860571, rel=2e-5)


def test_a_batch_of_uncertain_pixels_teaches_nothing(edge, displacement):
    result = losses(edge, displacement, torch.full((2, 32, 32), 255), paths(5))
    assert result["total"] == 0


def test_a_map_smaller_than_the_offsets_is_refused(edge, displacement, labels):
    with pytest.raises(ValueError, match="16x16 map is too small"):
        losses(edge[..., :16, :16], displacement[..., :16, :16], labels[..., :16, :16], paths(10))


def test_the_smallest_map_has_one_source(labels):
    assert pair_labels(labels[:, :10, :19], paths(10)).negative.shape[-2:] == (1, 1)
    for height, width in ((9, 19), (10, 18)):
        with pytest.raises(ValueError, match=f"{height}x{width} map is too small"):
            pair_labels(labels[:, :height, :width], paths(10))


def test_affinity_labels_follow_the_truth_table():
    foreground = np.array([[0, 0, 3, 3]], np.uint8)
    background = np.array([[0, 5, 0, 5]], np.uint8)
    np.testing.assert_array_equal(affinity_labels(foreground, background), [[0, 255, 3, 3]])


@pytest.mark.parametrize(
    ("background_threshold", "counts", "sha", "row_8", "row_15"),
    [
        (
            0.05,
            {5: 90, 12: 110, 255: 568},
            "5be601a8fb990b69",
            [255] * 4 + [5] * 9 + [255] * 19,
            [255] * 18 + [12] * 11 + [255] * 3,
        ),
        (
            0.17,
            {0: 568, 5: 90, 12: 110},
            "5239bddf663cc8dc",
            [0] * 4 + [5] * 9 + [0] * 19,
            [0] * 18 + [12] * 11 + [0] * 3,
        ),
    ],
)
def test_composed_labels_are_the_reference_labels(background_threshold, counts, sha, row_8, row_15):
    y, x, c = np.ogrid[:24, :32, :3]
    red_square = (x >= 4) & (x < 13) & (y >= 3) & (y < 13) & (c == 0)
    green_square = (x >= 18) & (x < 29) & (y >= 10) & (y < 20) & (c == 1)
    image = (40 + 100 * red_square + 110 * green_square + (3 * x + 5 * y + 7 * c) % 11).astype(np.uint8)
    assert digest(image, "u1") == "04d2a3ceec4fd453"
    y, x = y[..., 0], x[..., 0]
    cams = np.stack([np.exp(-((x - 8) ** 2 + (y - 8) ** 2) / 50), np.exp(-((x - 23) ** 2 + (y - 15) ** 2) / 32)])

    def labelling(threshold):
        planes = np.concatenate([np.full((1, 24, 32), threshold), cams])
        q = dense_crf(
            image,
            label_unary(planes.argmax(0), 3),
            gaussian_sxy=3,
            gaussian_compat=3,
            bilateral_sxy=50,
            bilateral_srgb=5,
            bilateral_compat=10,
            iterations=10,
        )
        return np.array([0, 5, 12])[q.argmax(0)]

    labels = affinity_labels(labelling(0.3), labelling(background_threshold))
    assert labels.dtype == np.uint8
    values, numbers = np.unique(labels, return_counts=True)
    assert dict(zip(values.tolist(), numbers.tolist(), strict=True)) == counts
    assert labels[8].tolist() == row_8
    assert labels[15].tolist() == row_15
    assert digest(labels, "u1") == sha
