"""Refinement of a teacher's probabilities inside a training step: CRF, PAMR, none."""

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


def test_unknown_refinement_is_named():
    with pytest.raises(InputError, match="choose crf, pamr or none"):
        make_refine("median", CRF, HALF, HALF, workers=0)
