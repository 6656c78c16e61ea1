"""ZeroSeg: segments that learn from CLIP's vectors of an image's parts, without any text.

"Exploring Open-Vocabulary Semantic Segmentation from CLIP Vision Encoder Distillation Only", ICCV 2023. The paper gives
the views and the three losses, but not their weights and reduction. Reconstructed: means where the paper prints sums,
the weights of the losses, unit length of the teacher's vectors, and pixels that are not normalised per patch. The
weights of the views by grid and L_cover are ours.

Symbols (the paper's, then ours):
    v_1 ... v_n    views       the teacher's unit vectors of the whole image and of the cells of its grids, [B, n, D']
    g_1 ... g_m    segments    [B, m, D']
    z              image       [B, D']
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from maskmill.choices import check_choice


def view_boxes(side: int, grids: Sequence[int] = (1, 2, 3, 4)) -> list[tuple[int, int, int, int]]:
    """Cells of the grids over a square image: (top, left, bottom, right) in pixels, grid by grid, row by row.

    Boundaries of an s x s grid are round(k side / s), with halves rounded to even. The paper's grids give 30 views, the
    first of which is the whole image.

    Args:
        side: of the image in pixels.
        grids: s of each grid.
    """
    boxes = []
    for count in grids:
        edges = [round(k * side / count) for k in range(count + 1)]
        spans = list(pairwise(edges))
        boxes += [(top, left, bottom, right) for top, bottom in spans for left, right in spans]
    return boxes


def patchify(pixels: Tensor, patch_size: int) -> Tensor:
    """Images [B, 3, H, W] as patches [B, L, 3 patch_size²], row by row; channels are last in a patch, as in MAE."""
    rows = pixels.unflatten(2, (-1, patch_size)).unflatten(4, (-1, patch_size))  # [B, 3, h, p, w, p]
    return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def reconstruction_loss(predicted: Tensor, pixels: Tensor, removed: Tensor) -> Tensor:
    """L_rec: mean squared error over the pixels of the removed patches, a scalar; 0 without any.

    Args:
        predicted: reconstructed patches [B, L, 3 p²], where p is the side of a patch.
        pixels: [B, 3, H, W].
        removed: [B, L], 1 for patches that were removed from the encoder's input.
    """
    side = round((predicted.shape[2] / 3) ** 0.5)
    errors = (predicted - patchify(pixels, side)).square().mean(dim=2)
    return (errors * removed).sum() / removed.sum().clamp(min=1)


def view_weights(grids: Sequence[int], how: str = "equal") -> Tensor:
    """Weights of the views, grid by grid, [n], with sum 1.

    Args:
        grids: see `view_boxes`.
        how: `equal`, the same weight for all views; `grids`, the same total weight for all grids.

    Raises:
        ValueError: `how` is another word.
    """
    check_choice("views", how, ("equal", "grids"))
    cells = torch.tensor([count**2 for count in grids])
    cell_weights = 1 / cells if how == "grids" else torch.ones(len(cells))
    weights = cell_weights.repeat_interleave(cells)
    return weights / weights.sum()


def distillation_loss(image: Tensor, views: Tensor, weights: Tensor) -> Tensor:
    """L_distill = sum over j of w_j mean over D' of |z - v_j|, a scalar; for the weights [n] see `view_weights`."""
    return ((image[:, None] - views).abs().mean(dim=2) * weights.to(views)).sum(dim=1).mean()


def view_distances(segments: Tensor, views: Tensor) -> Tensor:
    """|g_i - v_j| / D' between segments and local views, [B, m, n - 1]; v_1, the whole image, is left out."""
    return (segments[:, :, None] - views[:, None, 1:]).abs().mean(dim=3)


def matching_loss(distances: Tensor) -> tuple[Tensor, Tensor]:
    """L_match = mean over i of min_j |g_i - v_j| / D', the distance of every segment to its nearest cell.

    Args:
        distances: result of `view_distances`.

    Returns:
        The loss, a scalar, and the number of the nearest view among all n, int64 [B, m], never 0.
    """
    least, nearest = distances.min(dim=2)
    return least.mean(), nearest + 1


def coverage_loss(distances: Tensor) -> Tensor:
    """L_cover = mean over j of min_i |g_i - v_j| / D', the distance of every cell to its nearest segment, a scalar.

    L_match and L_cover together are a Chamfer distance. L_cover is large if all segments settle on a single view,
    because the other views are then far from every segment.
    """
    return distances.amin(dim=1).mean()


def view_entropy(nearest: Tensor, views: int) -> Tensor:
    """Entropy (nat) of the views that are nearest to the segments of a batch; 0 if it is the same view for all.

    Args:
        nearest: result of `matching_loss`, int64 [B, m].
        views: n.
    """
    shares = nearest.flatten().bincount(minlength=views) / nearest.numel()
    return -(shares * shares.clamp(min=1e-12).log()).sum()


def segment_cosine(segments: Tensor) -> Tensor:
    """Mean cosine between different segments of an image, a scalar; 1 if all segments are the same."""
    unit = F.normalize(segments, dim=-1)
    total, count = (unit @ unit.transpose(1, 2)).sum(dim=(1, 2)), segments.shape[1]
    return ((total - count) / (count * (count - 1))).mean()


def gradient_norms(losses: Mapping[str, Tensor], parameters: Iterable[Tensor]) -> dict[str, float]:
    """Norm of each loss's gradient with respect to shared parameters, to compare the effects of the losses' weights."""
    parameters = list(parameters)
    norms = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        norms[name] = sum(g.square().sum().item() for g in gradients if g is not None) ** 0.5
    return norms
