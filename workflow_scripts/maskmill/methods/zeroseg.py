"""ZeroSeg: segments that learn from CLIP's view of an image's parts, without any text.

"Exploring Open-Vocabulary Semantic Segmentation from CLIP Vision Encoder Distillation Only", ICCV 2023; spec
open_vocabulary 3.2, 3.3. Certain: the views, and the three losses up to their reduction. Reconstructed: means where the
paper prints sums, the losses' weights, unit length of the teacher's vectors, pixels that are not normalised per patch.
Additions, which the paper does not have: the views' weights by grid, and L_cover.

Symbols (the paper's, then ours):
    v_1 ... v_n    views       of the whole image and of the cells of its grids, the teacher's unit vectors, [B, n, D']
    g_1 ... g_m    segments    [B, m, D']
    z              image       [B, D']
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def view_boxes(side: int, grids: Sequence[int] = (1, 2, 3, 4)) -> list[tuple[int, int, int, int]]:
    """Cells of the grids over a square image: (top, left, bottom, right), pixels; grid by grid, row by row (3.2).

    Boundaries of an s x s grid are round(k side / s), halves to even. The paper's grids give 30 views, the whole image
    first.
    """
    boxes = []
    for count in grids:
        edges = [round(k * side / count) for k in range(count + 1)]
        spans = list(pairwise(edges))
        boxes += [(top, left, bottom, right) for top, bottom in spans for left, right in spans]
    return boxes


def patchify(pixels: Tensor, patch_size: int) -> Tensor:
    """Images [B, 3, H, W] as patches [B, L, 3 patch_size²], row by row; channels last in a patch, as MAE has it."""
    rows = pixels.unflatten(2, (-1, patch_size)).unflatten(4, (-1, patch_size))  # [B, 3, h, p, w, p]
    return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def reconstruction_loss(predicted: Tensor, pixels: Tensor, removed: Tensor) -> Tensor:
    """L_rec: mean squared error over the pixels of the removed patches, a scalar; 0 without any.

    Args:
        predicted: [B, L, 3 p²]; pixels: [B, 3, H, W]; removed: [B, L], 1 where the encoder did not see the patch.
    """
    side = round((predicted.shape[2] / 3) ** 0.5)
    errors = (predicted - patchify(pixels, side)).square().mean(dim=2)
    return (errors * removed).sum() / removed.sum().clamp(min=1)


def view_weights(grids: Sequence[int], how: str = "equal") -> Tensor:
    """Weights of a grid's cells, grid by grid, [n], summing to 1: `equal`, or `grids`, equal for each grid as a whole.

    Raises:
        ValueError: another `how`.
    """
    if how not in ("equal", "grids"):
        raise ValueError(f"views is {how!r}; choose equal or grids")
    cells = torch.tensor([count**2 for count in grids])
    each = 1 / cells if how == "grids" else torch.ones(len(cells))
    weights = each.repeat_interleave(cells)
    return weights / weights.sum()


def distillation_loss(image: Tensor, views: Tensor, weights: Tensor) -> Tensor:
    """L_distill = sum over j of w_j mean over D' of |z - v_j|, a scalar; weights [n] as of `view_weights`."""
    return ((image[:, None] - views).abs().mean(dim=2) * weights.to(views)).sum(dim=1).mean()


def view_distances(segments: Tensor, views: Tensor) -> Tensor:
    """|g_i - v_j| / D' of segments and local views, [B, m, n - 1]; v_1 is left out."""
    return (segments[:, :, None] - views[:, None, 1:]).abs().mean(dim=3)


def matching_loss(distances: Tensor) -> tuple[Tensor, Tensor]:
    """L_match = mean over i of min_j |g_i - v_j| / D', the nearest cell of every segment.

    Args:
        distances: `view_distances`.

    Returns:
        the scalar, and the nearest views' numbers among all, int64 [B, m], never 0.
    """
    least, nearest = distances.min(dim=2)
    return least.mean(), nearest + 1


def coverage_loss(distances: Tensor) -> Tensor:
    """L_cover = mean over j of min_i |g_i - v_j| / D', the nearest segment of every cell, a scalar. Beside L_match it
    is the other half of a Chamfer distance: segments that all settle on one view leave the other views far."""
    return distances.amin(dim=1).mean()


def view_entropy(nearest: Tensor, views: int) -> Tensor:
    """Entropy (nat) of the views that a batch's segments are nearest to; 0 where all chose one (3.3)."""
    shares = nearest.flatten().bincount(minlength=views) / nearest.numel()
    return -(shares * shares.clamp(min=1e-12).log()).sum()


def segment_cosine(segments: Tensor) -> Tensor:
    """Mean cosine between different segments of an image: 1 where they are all the same (3.3)."""
    unit = F.normalize(segments, dim=-1)
    total, count = (unit @ unit.transpose(1, 2)).sum(dim=(1, 2)), segments.shape[1]
    return ((total - count) / (count * (count - 1))).mean()


def gradient_norms(losses: Mapping[str, Tensor], parameters: Iterable[Tensor]) -> dict[str, float]:
    """Length of each loss's gradient with respect to shared parameters: what its weight is judged by (3.3)."""
    parameters = list(parameters)
    norms = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        norms[name] = sum(g.square().sum().item() for g in gradients if g is not None) ** 0.5
    return norms
