"""Zero-shot segmentation with segments that have a place in the space of texts (spec open_vocabulary 1.8).

Certain: read in GroupViT's released code; MixReorg and ZeroSeg follow it (that they use its thresholds' rule and, for
MixReorg, its thresholds, is reconstructed). A window's segments are matched with the classes once, and every pixel
takes over its segment's affinities.

Symbols: G segments, N classes, D' dimensions of the shared space.
    M    shares        of patches in segments, [L, G]
    U    similarity    s z t, [G, N]
    Q    affinity      [G, N]
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TOP = 5  # classes that the image as a whole admits


def class_vectors(encode: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """T_c, the unit vectors of classes, [N, D'].

    Args:
        encode: captions to projected, not normalised vectors [n, D']; the mean over the templates is taken of these
            (CLIP normalises first).
        templates: with {} in the place of the name.
    """
    means = [encode([template.format(name) for template in templates]).mean(dim=0) for name in names]
    return F.normalize(torch.stack(means), dim=-1)


def segment_affinity(segments: Tensor, image: Tensor, classes: Tensor, scale: Tensor | float, top: int = TOP) -> Tensor:
    """Affinity of segments and classes, [G, N]: softmax over all classes times softmax over the `top` ones that the
    image as a whole is likest; 0 for the others. Rows need not sum to 1.

    Args:
        segments, image, classes: unit vectors [G, D'], [D'], [N, D'].
    """
    similarity = scale * segments @ classes.T
    admitted = (classes @ image).topk(min(top, len(classes))).indices
    gate = torch.full_like(similarity[0], -torch.inf).index_fill(0, admitted, 0.0)
    return similarity.softmax(dim=1) * (similarity + gate).softmax(dim=1)


def pixel_segments(shares: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """g(p), int64 `size`: every pixel's segment, the largest of the shares [L, G], resized (bilinear) from `grid`."""
    maps = shares.T.unflatten(1, grid)[None]
    return F.interpolate(maps, size, mode="bilinear")[0].argmax(dim=0)


def background_threshold(affinity: Tensor, threshold: float) -> float:
    """min(threshold, largest affinity): one segment always stays foreground, which need not have pixels."""
    return min(threshold, affinity.max().item())


def window_logits(affinity: Tensor, segments: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Logits of a window, [T + N, H, W]: a background for each of T thresholds, 1 where all classes stay below it and
    else 0; then the classes.

    Args:
        affinity: [G, N].
        segments: g(p), [H, W].
        thresholds: of the background; none where the data set has none.
    """
    best = affinity.max(dim=1).values
    backgrounds = [(best < background_threshold(affinity, threshold)).to(best) for threshold in thresholds]
    return torch.stack([*backgrounds, *affinity.T])[:, segments]


def zero_shot_logits(
    pixels: Tensor,
    *,
    describe: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    patch_size: int,
    classes: Tensor,
    scale: Tensor | float,
    thresholds: Sequence[float],
    top: int = TOP,
) -> Tensor:
    """The logits of one window, [1, T + N, H, W], see `window_logits`.

    Args:
        pixels: normalised, [1, 3, H, W]; H and W are multiples of `patch_size`.
        describe: pixels to shares [1, L, G], segments' unit vectors [1, G, D'] and the image's [1, D'].
        classes: `class_vectors`.
        thresholds: T, of the background.
    """
    size = tuple(pixels.shape[2:])
    (shares,), (segments,), (image,) = describe(pixels)
    affinity = segment_affinity(segments, image, classes, scale, top)
    grid = size[0] // patch_size, size[1] // patch_size
    return window_logits(affinity, pixel_segments(shares, grid, size), thresholds)[None]
