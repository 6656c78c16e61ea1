"""Class activation maps (Zhou et al., CVPR 2016) summed over scales, as in `step/make_cam.py` of jiwoon-ahn/irn."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor


def merge_scales(
    maps: Sequence[Tensor], size: tuple[int, int], classes: Sequence[int], *, full: bool = False
) -> Tensor:
    """Sum an image's maps over scales on the stride-4 grid, and scale each class to a maximum of 1.

    Args:
        maps: per scale float [C, h_s, w_s] >= 0, see `Classifier.cam`.
        size: height and width of the image in pixels.
        classes: mask ids 1..C of the image's tags; class c is channel c - 1.
        full: IRN's second set: instead of the stride-4 grid, the image, cut from whole cells of 16 pixels.

    Returns:
        float [len(classes), (H-1)//4+1, (W-1)//4+1], or [len(classes), H, W] if `full`, in 0..1: each plane is divided
        by its own maximum + 1e-5.
    """
    height, width = size
    channels = torch.as_tensor(classes, dtype=torch.long, device=maps[0].device) - 1
    grid = ((height - 1) // 4 + 1, (width - 1) // 4 + 1)
    if full:
        grid = (16 * ((height - 1) // 16 + 1), 16 * ((width - 1) // 16 + 1))
    planes = [scale.index_select(0, channels)[:, None] for scale in maps]
    resized = (F.interpolate(plane, grid, mode="bilinear", align_corners=False)[:, 0] for plane in planes)
    total = cast(Tensor, sum(resized))[:, :height, :width]
    return total / (total.amax((1, 2), keepdim=True) + 1e-5)
