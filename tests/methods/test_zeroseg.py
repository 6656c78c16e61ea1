"""ZeroSeg's views, its losses, and the measures that show a collapse of the segments."""

import math

import numpy as np
import pytest
import torch

from maskmill.methods.zeroseg import (
    coverage_loss,
    distillation_loss,
    gradient_norms,
    matching_loss,
    patchify,
    reconstruction_loss,
    segment_cosine,
    view_boxes,
    view_distances,
    view_entropy,
    view_weights,
)

M, N, DIM = 8, 30, 768


@pytest.fixture
def vectors():
    """Segments, image vectors and unit views of two images, float64."""
    generator = torch.Generator().manual_seed(0)
    segments, image, views = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((2, M, DIM), (2, DIM), (2, N, DIM))
    )
    return segments, image, torch.nn.functional.normalize(views, dim=-1)


def test_the_papers_grids_give_30_views_that_tile_the_crop():
    boxes = view_boxes(224)
    assert len(boxes) == 30 and boxes[0] == (0, 0, 224, 224)
    assert boxes[5:8] == [(0, 0, 75, 75), (0, 75, 75, 149), (0, 149, 75, 224)], "integer boundaries of the 3 x 3 grid"
    first = 0
    for count in (1, 2, 3, 4):
        covered = np.zeros((224, 224), int)
        for top, left, bottom, right in boxes[first : first + count**2]:
            covered[top:bottom, left:right] += 1
        assert (covered == 1).all()
        first += count**2


def test_distillation_equals_loops_over_every_view(vectors):
    _, image, views = vectors
    total = sum(abs(image[b, d] - views[b, j, d]).item() for b in range(2) for j in range(N) for d in range(0, DIM))
    loss = distillation_loss(image, views, view_weights((1, 2, 3, 4)))
    assert loss.item() == pytest.approx(total / (2 * N * DIM), abs=1e-6)


def test_grids_may_weigh_the_same_in_the_distillation(vectors):
    _, image, views = vectors
    grids = [views[:, first:last] for first, last in ((0, 1), (1, 5), (5, 14), (14, 30))]
    expected = sum((image[:, None] - of_grid).abs().mean() for of_grid in grids) / 4
    weights = view_weights((1, 2, 3, 4), "grids")
    torch.testing.assert_close(distillation_loss(image, views, weights), expected, rtol=1e-6, atol=0)
    assert view_weights([1], "grids").tolist() == view_weights([1]).tolist() == [1]
    with pytest.raises(ValueError, match="views is 'cells'; choose one of equal, grids"):
        view_weights([1, 2], "cells")


def test_matching_equals_loops_and_never_takes_the_whole_image(vectors):
    segments, _, views = vectors
    segments[:, 0] = views[:, 0]  # the whole image would be nearest
    loss, nearest = matching_loss(view_distances(segments, views))
    total = 0.0
    for b in range(2):
        for i in range(M):
            distances = [(segments[b, i] - views[b, j]).abs().sum().item() for j in range(1, N)]
            total += min(distances)
            assert nearest[b, i] == 1 + int(np.argmin(distances)) and nearest[b, i] != 0
    assert loss.item() == pytest.approx(total / (2 * M * DIM), abs=1e-6)


def test_the_nearest_view_is_nearest_in_l1_not_in_l2():
    views = torch.tensor([[[0.0, 0.0], [0.9, 0.0], [0.6, 0.5]]])
    assert matching_loss(view_distances(torch.zeros(1, 1, 2), views))[1].item() == 1  # l1 0.9 < 1.1, l2 0.9 > 0.78


def test_only_the_nearest_view_pulls_a_segment(vectors):
    segments, _, views = vectors
    segments.requires_grad_()
    loss, nearest = matching_loss(view_distances(segments, views))
    loss.backward()
    chosen = torch.stack([views[b, nearest[b]] for b in range(2)])
    torch.testing.assert_close(segments.grad, torch.sign(segments.detach() - chosen) / (2 * M * DIM))


def test_coverage_is_the_mean_of_every_cells_nearest_segment(vectors):
    segments, _, views = vectors
    nearest = [[min((g - v).abs().mean() for g in segments[b]) for v in views[b, 1:]] for b in range(2)]
    loss = coverage_loss(view_distances(segments, views))
    torch.testing.assert_close(loss, torch.tensor(nearest, dtype=torch.float64).mean())


def test_segments_that_settle_on_one_view_match_but_do_not_cover(vectors):
    views = vectors[2]
    settled, spread = views[:, 1:2].expand(-1, N - 1, -1), views[:, 1:]
    settled, spread = (view_distances(segments, views) for segments in (settled, spread))
    assert matching_loss(settled)[0] == matching_loss(spread)[0] == coverage_loss(spread) == 0
    assert coverage_loss(settled) > 0.01


def test_reconstruction_counts_removed_patches_alone():
    pixels = torch.zeros(1, 3, 4, 4)
    predicted = torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None].expand(1, 4, 12)
    removed = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    assert reconstruction_loss(predicted, pixels, removed).item() == (2**2 + 4**2) / 2
    assert reconstruction_loss(predicted, pixels, torch.zeros(1, 4)).item() == 0


def test_patches_run_row_by_row_with_channels_last():
    pixels = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = patchify(pixels, 2)
    assert patches.shape == (2, 6, 12)
    window = pixels[1, :, 2:4, 2:4]  # second row, second column
    torch.testing.assert_close(patches[1, 4], window.permute(1, 2, 0).flatten())


def test_entropy_of_the_nearest_views_tells_collapse():
    assert view_entropy(torch.full((4, M), 7), N).item() == pytest.approx(0, abs=1e-6)
    even = torch.arange(1, 30).repeat(M).reshape(-1, M)
    assert view_entropy(even, N).item() == pytest.approx(math.log(29), abs=1e-5)


def test_cosine_between_segments_tells_collapse():
    assert segment_cosine(torch.ones(3, M, 5)).item() == pytest.approx(1)
    assert segment_cosine(torch.eye(M)[None]).item() == pytest.approx(0)


def test_gradient_norms_of_a_hand_made_case():
    x, y = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    squares = (x**2).sum()  # two losses go back through it
    losses = {"half": squares / 2, "whole": squares, "both": 5 * x[0] + 12 * y[0]}
    losses["neither"] = torch.ones(1, requires_grad=True)[0]
    assert gradient_norms(losses, [x, y]) == pytest.approx({"half": 5, "whole": 10, "both": 13, "neither": 0})
