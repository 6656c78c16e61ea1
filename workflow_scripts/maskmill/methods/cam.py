"""Class activation maps (Zhou et al., CVPR 2016) merged over scales, as IRN's `make_cam` does."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def merge_scales(maps: Sequence[Tensor], size: tuple[int, int], classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Sum an image's maps over scales, on the stride-4 grid and at full resolution; scale each class to 1.

    Args:
        maps: per scale float [C, h_s, w_s] >= 0: ReLU of the image's map plus the unflipped map of its mirror
            image.
        size: height and width of the image in pixels.
        classes: mask ids 1..C of the image's tags; class c is channel c - 1.

    Returns:
        cam: [len(classes), (H-1)//4+1, (W-1)//4+1], in 0..1.
        high_res: [len(classes), H, W], in 0..1, resized to whole blocks of 16 pixels and cropped.
        Each plane is divided by its own maximum + 1e-5.
    """
    height, width = size
    channels = torch.as_tensor(classes, dtype=torch.long, device=maps[0].device) - 1
    maps = [scale.index_select(0, channels) for scale in maps]
    cam = _sum_resized(maps, (_blocks(height, 4), _blocks(width, 4)))
    high_res = _sum_resized(maps, (16 * _blocks(height, 16), 16 * _blocks(width, 16)))[:, :height, :width]
    return normalised(cam), normalised(high_res)


def normalised(maps: Tensor) -> Tensor:
    """Divide each plane of [K, h, w] by its maximum + 1e-5."""
    return maps / (maps.amax((1, 2), keepdim=True) + 1e-5)


def _sum_resized(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    return sum(F.interpolate(scale[:, None], size, mode="bilinear", align_corners=False)[:, 0] for scale in maps)


def _blocks(length: int, stride: int) -> int:
    return (length - 1) // stride + 1
