"""IRN: weakly supervised learning of class boundaries and displacements (Ahn, Cho, Kwak, CVPR 2019).

Constants are those of the released code (`net/resnet50_irn.py`, `step/train_irn.py` of jiwoon-ahn/irn). Symbols: B(x)
class boundary map, D(x) displacement field, a_ij affinity of pixels i and j. A pair is a source pixel i and the pixel j
at one of the O offsets of `maskmill.refinement.paths.paths(radius)`. Sources are the h x w pixels whose partners j all
lie on the map: with r = radius - 1, the first H - r rows and all but the r outermost columns on either side.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from maskmill.training.devices import divisor

UNCERTAIN = 255
EPSILON = 1e-5

Cell = tuple[int, int]
Paths = Sequence[tuple[Cell, Sequence[Cell]]]


def affinity_labels(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Labels from which IRNet learns, combined from confident foreground and confident background.

    Args:
        foreground: ids [H, W] of labels with little foreground (high threshold, then a CRF).
        background: ids [H, W] of labels with little background (low threshold, then a CRF).

    Returns:
        uint8 [H, W]: the class of `foreground`, 0 where both are background, 255 elsewhere.
    """
    uncertain_or_background = np.where(background == 0, 0, UNCERTAIN)
    return np.where(foreground > 0, foreground, uncertain_or_background).astype(np.uint8)


class PairLabels(NamedTuple):
    """Pairs that attract (positive) and pairs that repel (negative), bool [B, O, h, w] each; no pair is in two sets."""

    background: Tensor  # P+_bg: both pixels background
    foreground: Tensor  # P+_fg: both pixels of the same foreground class
    negative: Tensor  # P-: different labels


def pair_labels(labels: Tensor, paths: Paths) -> PairLabels:
    """Compare the labels of all pairs.

    Args:
        labels: integers [B, H, W]; 255 is uncertain, and its pairs are in no set.
        paths: see `maskmill.refinement.paths.paths`.

    Raises:
        ValueError: the map is too small for the offsets.
    """
    reach = _reach(paths)
    source = _window(labels, (0, 0), reach)[:, None]
    destination = torch.stack([_window(labels, offset, reach) for offset, _ in paths], dim=1)
    same = source == destination
    certain = (source != UNCERTAIN) & (destination != UNCERTAIN)
    return PairLabels(same & (source == 0), same & certain & (source > 0), ~same & certain)


def affinity(boundary: Tensor, paths: Paths) -> Tensor:
    """a_ij = 1 - max over the path from i to j of B.

    Args:
        boundary: class boundary probability [B, H, W].

    Returns:
        [B, O, h, w]. The gradient goes to one strongest cell of each path.
    """
    # The search for the strongest cells runs without autograd, so that it only differentiates a single gather, and not
    # a slice per cell and path.
    reach = _reach(paths)
    strongest = torch.stack([_strongest(boundary.detach(), cells, reach) for _, cells in paths], dim=1)
    return 1 - boundary.flatten(1).gather(1, strongest.flatten(1)).view(strongest.shape)


def displacement_difference(displacement: Tensor, offset: Cell, reach: int) -> Tensor:
    """D_i - D_j, [B, 2, h, w], of the pairs at one offset; displacement [B, 2, H, W] is (dy, dx) in cells."""
    return _window(displacement, (0, 0), reach) - _window(displacement, offset, reach)


def losses(edge: Tensor, displacement: Tensor, labels: Tensor, paths: Paths) -> dict[str, Tensor]:
    """Losses of IRNet over all pairs of a batch, on all devices.

    Args:
        edge: logits of the class boundary map, [B, 1, H, W]; float32 or float64, since sums run over millions
            of pairs.
        displacement: [B, 2, H, W] as (dy, dx) in cells.
        labels: affinity labels on the same grid, integers [B, H, W], 255 = uncertain.

    Returns:
        Scalars `positive` (mean of background's and foreground's mean -ln a), `negative` (mean -ln(1 - a)),
        `displacement_foreground` (mean |D_i - D_j - (j - i)|), `displacement_background` (mean |D_i - D_j|),
        and half their sum, `total`.
    """
    pairs = pair_labels(labels, paths)
    background, foreground, negative = (divisor(mask.sum(dtype=edge.dtype), 0) for mask in pairs)

    a = affinity(edge[:, 0].sigmoid(), paths)
    surprise = -torch.where(pairs.negative, 1 + EPSILON - a, a + EPSILON).log()
    background_positive = (surprise * pairs.background).sum() / (background + EPSILON)
    foreground_positive = (surprise * pairs.foreground).sum() / (foreground + EPSILON)

    reach = _reach(paths)
    foreground_error: Any = 0.0
    background_error: Any = 0.0
    for number, (offset, _) in enumerate(paths):
        difference = displacement_difference(displacement, offset, reach)
        target = difference.new_tensor(offset).view(2, 1, 1)
        foreground_error += ((difference - target).abs() * pairs.foreground[:, None, number]).sum()
        background_error += (difference.abs() * pairs.background[:, None, number]).sum()

    parts = {
        "positive": (background_positive + foreground_positive) / 2,
        "negative": (surprise * pairs.negative).sum() / (negative + EPSILON),
        "displacement_foreground": foreground_error / (2 * foreground + EPSILON),
        "displacement_background": background_error / (2 * background + EPSILON),
    }
    return {**parts, "total": cast(Tensor, sum(parts.values())) / 2}


def _reach(paths: Paths) -> int:
    """r: the largest distance of the offsets, in rows or columns."""
    return max(dy for (dy, _), _ in paths)


def _window(values: Tensor, cell: Cell, reach: int) -> Tensor:
    """The values [..., H, W] at `cell` from each source: [..., h, w]."""
    height, width = values.shape[-2:]
    if height <= reach or width <= 2 * reach:
        raise ValueError(f"a {height}x{width} map is too small for offsets up to {reach} cells: use a larger crop")
    top, left = cell[0], reach + cell[1]
    return values[..., top : top + height - reach, left : left + width - 2 * reach]


def _strongest(boundary: Tensor, cells: Sequence[Cell], reach: int) -> Tensor:
    """Flat position, on the map [B, H, W], of the strongest of `cells` relative to each source: [B, h, w]."""
    number = torch.stack([_window(boundary, cell, reach) for cell in cells]).max(dim=0).indices
    width = boundary.shape[-1]
    steps = torch.tensor([dy * width + dx for dy, dx in cells], device=boundary.device)
    positions = torch.arange(boundary[0].numel(), device=boundary.device).view(boundary.shape[1:])
    return _window(positions, (0, 0), reach) + steps[number]
