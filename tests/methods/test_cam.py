"""Class activation maps. Golden numbers: one float64 run of the sum over scales in IRN's `step/make_cam.py`."""

import pytest
import torch
from torch.nn import functional as F

from maskmill.methods.cam import merge_scales
from maskmill.refinement.resize import resize_planes


@pytest.fixture
def maps():
    def scale(k, height, width):
        n = torch.arange(1, 4 * height * width + 1, dtype=torch.float64)
        return torch.sin(0.21 * n + k).abs().view(4, height, width)

    return [scale(k, *size) for k, size in enumerate([(4, 5), (2, 3), (6, 7), (7, 9)])]


def test_merged_maps_are_the_reference_maps(maps):
    cam = merge_scales(maps, (50, 70), classes=[1, 3, 4])
    assert cam.shape == (3, 13, 18)
    assert [cam.mean().item(), cam[0, 0, 0].item(), cam[-1, -1, -1].item()] == pytest.approx(
        [0.800056527039, 0.568846160761, 0.654856359444], rel=1e-9
    )
    assert cam.amax((1, 2)).tolist() == pytest.approx([0.999997176943, 0.999996975559, 0.999996915971], rel=1e-9)


def test_maps_summed_at_full_size_are_scaled_as_the_reference_maps(maps):
    """The release's second set, which no stage here stores: on a grid of whole strides of 16, cut to the image."""
    total = sum(F.interpolate(scale[None], (64, 80), mode="bilinear")[0] for scale in maps)[:, :50, :70]
    high_res = merge_scales([total], (4 * 50, 4 * 70), classes=[1, 3, 4])
    assert high_res.shape == (3, 50, 70)
    assert [high_res.mean().item(), high_res[0, 0, 0].item(), high_res[-1, -1, -1].item()] == pytest.approx(
        [0.804165821118, 0.565250716751, 0.648848663609], rel=1e-9
    )
    assert high_res.amax((1, 2)).tolist() == pytest.approx([0.999997194787, 0.999997023315, 0.999996967304], rel=1e-9)


@pytest.mark.parametrize("size", [(50, 70), (97, 65), (16, 33), (5, 3)])
def test_the_full_set_is_irns_second_one(maps, size):
    """`high_res` of `step/make_cam.py`, re-stated: each scale enlarged to whole strides of 16, cut, summed, divided."""
    height, width = size
    strided = 16 * -(-height // 16), 16 * -(-width // 16)
    enlarged = [F.interpolate(scale[:, None], strided, mode="bilinear", align_corners=False) for scale in maps]
    total = torch.stack(enlarged).sum(dim=0)[:, 0, :height, :width][[0, 2, 3]]
    expected = total / (F.adaptive_max_pool2d(total, (1, 1)) + 1e-5)
    torch.testing.assert_close(merge_scales(maps, size, [1, 3, 4], full=True), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("width", "cell", "quarter"), [(513, 4, 6), (513, 16, 1), (513, 28, -5), (500, 16, 2), (512, 16, 8)]
)
def test_the_full_set_lies_half_a_cell_too_far_right_and_the_other_one_is_stretched_to_the_image(width, cell, quarter):
    """A ResNet's cells of 16 pixels are centred on pixels 0, 16, 32, ...: an object from some cell on begins half a
    cell to the left of that pixel."""
    begins = (torch.arange(-(-width // 16)) >= cell).float().expand(1, 3, -1)
    size, true = (33, width), 16 * cell - 8
    full = merge_scales([begins], size, [1], full=True).numpy()
    enlarged = resize_planes(merge_scales([begins], size, [1]).numpy(), size)
    late = [int((planes[0, 16] > 0.5).argmax()) - true for planes in (full, enlarged)]
    assert late == [8, quarter]


def test_an_image_without_tags_has_no_maps(maps):
    cam = merge_scales(maps, (50, 70), classes=[])
    assert cam.shape == (0, 13, 18)


def test_a_silent_class_stays_zero(maps):
    maps = [scale * torch.tensor([1.0, 0, 1, 1]).view(4, 1, 1) for scale in maps]
    cam = merge_scales(maps, (50, 70), classes=[1, 2])
    assert not cam[1].any()
    assert cam[0].max() > 0.99


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        *(((1, 1), (1, 1)), ((16, 16), (4, 4)), ((17, 16), (5, 4)), ((281, 500), (71, 125))),
        *(((333, 500), (84, 125)), ((375, 499), (94, 125)), ((500, 500), (125, 125)), ((513, 640), (129, 160))),
    ],
)
def test_grid_of_stride_4_is_the_reference_size(size, grid):
    assert merge_scales([torch.ones(1, 2, 2)], size, classes=[1]).shape == (1, *grid)
