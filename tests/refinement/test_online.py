"""Refinement of a teacher's probabilities inside a training step: CRF, PAMR, none."""

import itertools

import numpy as np
import pytest
import torch

from maskmill.errors import InputError
from maskmill.refinement.online import make_refine
from maskmill.refinement.pamr import pamr

CRF = {
    **{"gaussian_sxy": 1, "gaussian_compat": 3, "bilateral_sxy": 67, "bilateral_srgb": 3, "bilateral_compat": 4},
    "iterations": 10,
}
HALF = (0.5, 0.5, 0.5)


def two_halves():
    """An image with a sharp edge in the middle, and probabilities whose edge is four pixels off."""
    images = torch.full((1, 3, 24, 32), -0.8)
    images[..., 16:] = 0.8
    probabilities = torch.full((1, 3, 24, 32), 0.05)
    probabilities[:, 0, :, :20] = probabilities[:, 2, :, 20:] = 0.9
    return images, probabilities, torch.tensor([[False, True]])


@pytest.mark.parametrize("name", ["crf", "pamr"])
def test_refinement_moves_the_boundary_to_the_images_edge(name):
    images, probabilities, tags = two_halves()
    probabilities[..., 16:20] = torch.tensor([0.5, 0.02, 0.48])[:, None, None]  # unsure beyond the edge
    refine = make_refine(name, CRF, HALF, HALF, workers=0)
    refined = refine(probabilities, images, tags, torch.tensor([True]))
    assert (refined.argmax(dim=1)[0, :, 17:] == 2).float().mean() > 0.9
    assert (refined.argmax(dim=1)[0, :, :15] == 0).all()
    torch.testing.assert_close(refined[:, [0, 2]].sum(dim=1), torch.ones(1, 24, 32), rtol=0, atol=0.11)


def test_none_changes_nothing_and_unwanted_images_stay():
    images, probabilities, tags = two_halves()
    assert torch.equal(
        make_refine("none", CRF, HALF, HALF, workers=0)(probabilities, images, tags, None), probabilities
    )
    crf = make_refine("crf", CRF, HALF, HALF, workers=0)
    assert torch.equal(crf(probabilities, images, tags, torch.tensor([False])), probabilities)


def test_crf_in_worker_processes_gives_the_same():
    images, probabilities, tags = two_halves()
    wanted = torch.tensor([True])
    alone, pooled = (
        make_refine("crf", CRF, HALF, HALF, workers=n)(probabilities, images, tags, wanted) for n in (0, 1)
    )
    assert torch.equal(alone, pooled)


def test_pamr_keeps_sums_and_constant_maps():
    images, probabilities, _ = two_halves()
    torch.testing.assert_close(pamr(images / 2 + 0.5, probabilities).sum(dim=1), probabilities.sum(dim=1))


def released_pamr(image, probabilities, centres):
    """PAMR pixel by pixel, in numpy; `centres`: how often the standard deviation counts the pixel itself."""
    _, height, width = image.shape
    result = probabilities
    affinity, places = {}, {}
    for y, x in np.ndindex(height, width):
        places[y, x] = [
            (min(max(y + d * dy, 0), height - 1), min(max(x + d * dx, 0), width - 1))
            for d in (1, 2, 4, 8, 12, 24)
            for dy, dx in itertools.product((-1, 0, 1), repeat=2)
            if dy or dx
        ]
        values = np.array([image[:, i, j] for i, j in places[y, x]])  # [48, 3]
        own = image[:, y, x]
        sigma = np.concatenate([values, np.tile(own, (centres, 1))]).std(axis=0, ddof=1)
        logits = -(np.abs(values - own) / (1e-8 + 0.1 * sigma)).mean(axis=1)
        affinity[y, x] = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    for _ in range(10):
        averaged = np.empty_like(result)
        for (y, x), weights in affinity.items():
            averaged[:, y, x] = sum(w * result[:, i, j] for w, (i, j) in zip(weights, places[y, x], strict=True))
        result = averaged
    return result


def test_pamr_is_the_released_one_which_counts_a_pixel_once_for_every_dilation():
    rng = np.random.default_rng(0)
    images, scores = rng.random((2, 3, 9, 13)), rng.random((2, 4, 9, 13))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    refined = pamr(torch.from_numpy(images), torch.from_numpy(probabilities)).numpy()
    pairs = list(zip(images, probabilities, strict=True))
    np.testing.assert_allclose(refined, [released_pamr(*pair, centres=6) for pair in pairs], rtol=0, atol=1e-12)
    once = released_pamr(*pairs[0], centres=1)
    assert np.abs(refined[0] - once).max() > 1e-3


def test_unknown_refinement_is_named():
    with pytest.raises(InputError, match="choose crf, pamr or none"):
        make_refine("median", CRF, HALF, HALF, workers=0)
