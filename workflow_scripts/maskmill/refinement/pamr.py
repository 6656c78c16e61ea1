"""Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020, Sec. 4.2), which replaces a CRF on GPUs."""

import torch
from torch import Tensor
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8, 12, 24)
ITERATIONS = 10
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def pamr(images: Tensor, probabilities: Tensor) -> Tensor:
    """Replace each pixel's probabilities by an average over its neighbours of similar colour, ten times.

    The affinity of pixel i to neighbour j is a softmax over all neighbours of the mean over channels of
    -|I_i - I_j| / (0.1 sigma_i), where sigma_i is the local standard deviation of the channel. As in the released code
    (visinf/1-stage-wseg, `models/mods/pamr.py`), sigma_i counts the pixel itself once for every dilation.

    Args:
        images: [B, 3, H, W] in 0..1.
        probabilities: [B, C, H, W].

    Returns:
        [B, C, H, W]; the sums over C stay the same.
    """
    neighbours = _neighbours(images)  # [B, 3, N, H, W]
    deviation = torch.cat([neighbours, *[images[:, :, None]] * len(DILATIONS)], dim=2).std(dim=2, keepdim=True)
    difference = (neighbours - images[:, :, None]).abs() / (1e-8 + 0.1 * deviation)
    affinity = (-difference).mean(dim=1, keepdim=True).softmax(dim=2)  # [B, 1, N, H, W]
    for _ in range(ITERATIONS):
        probabilities = (_neighbours(probabilities) * affinity).sum(dim=2)
    return probabilities


def _neighbours(maps: Tensor) -> Tensor:
    """The eight neighbours at every dilation, [B, C, N, H, W]; values at the border continue beyond it."""
    height, width = maps.shape[-2:]
    shifted = []
    for d in DILATIONS:
        padded = F.pad(maps, (d, d, d, d), mode="replicate")
        shifted += [
            padded[..., d + d * dy : d + d * dy + height, d + d * dx : d + d * dx + width] for dy, dx in NEIGHBOURS
        ]
    return torch.stack(shifted, dim=2)
