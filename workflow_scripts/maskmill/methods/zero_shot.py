"""Zero-shot segmentation with segments that lie in the same space as texts.

The rule is that of GroupViT's released code (`segmentation/evaluation/group_vit_seg.py` of NVlabs/GroupViT). MixReorg
and ZeroSeg use it here as well: ZeroSeg's paper names GroupViT's rule for the background, for MixReorg the rule and its
thresholds are reconstructed. Each window matches its segments with the classes once, and every pixel takes the
affinities of its segment.

Symbols: G segments, N classes, D' dimensions of the shared space.
    M    shares        of patches in segments, [L, G]
    U    similarity    s z t, scaled cosines of segments z and classes t, [G, N]
    Q    affinity      [G, N]
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TOP = 5  # number of classes that the image as a whole admits


def class_vectors(encode: Callable[[list[str]], Tensor], names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """T_c, the unit vectors of N classes, [N, D'].

    Args:
        encode: captions to projected, not normalised vectors [n, D']. Their mean over the templates is normalised, as
            in GroupViT (CLIP normalises before the mean).
        names: of the classes.
        templates: captions with {} in the place of the name.
    """
    means = [encode([template.replace("{}", name) for template in templates]).mean(dim=0) for name in names]
    return F.normalize(torch.stack(means), dim=-1)


def segment_affinity(segments: Tensor, image: Tensor, classes: Tensor, scale: Tensor | float, top: int = TOP) -> Tensor:
    """Affinity of segments and classes, [G, N]: the softmax over all classes times the softmax over the `top` classes
    that are most similar to the image as a whole; 0 for the other classes. Rows need not sum to 1.

    Args:
        segments, image, classes: unit vectors [G, D'], [D'], [N, D'].
        scale: s, factor on the cosines.
    """
    similarity = scale * segments @ classes.T
    admitted = (classes @ image).topk(min(top, len(classes))).indices
    gate = torch.full_like(similarity[0], -torch.inf).index_fill(0, admitted, 0.0)
    return similarity.softmax(dim=1) * (similarity + gate).softmax(dim=1)


def pixel_segments(shares: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """g(p), int64 of `size`: the segment of every pixel, which has the largest share after bilinear resizing.

    Args:
        shares: M [L, G] of the patches of `grid` (rows, columns), row by row.
        size: (H, W) in pixels.
    """
    maps = shares.T.unflatten(1, grid)[None]
    return F.interpolate(maps, size, mode="bilinear")[0].argmax(dim=0)


def background_threshold(affinity: Tensor, threshold: float) -> float:
    """min(threshold, largest affinity), so that one segment always stays foreground; it need not have pixels."""
    return min(threshold, affinity.max().item())


def window_logits(affinity: Tensor, segments: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Logits of a window, [T + N, H, W]: a background plane for each of T thresholds, then the planes of the classes.

    A background plane is 1 where all classes are below its threshold, and 0 elsewhere.

    Args:
        affinity: [G, N].
        segments: g(p), [H, W].
        thresholds: of the background; empty for data sets without a background class.
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
        describe: pixels to shares [1, L, G], unit vectors of the segments [1, G, D'] and of the image [1, D'].
        patch_size: side of a patch in pixels.
        classes: result of `class_vectors`.
        scale, top: see `segment_affinity`.
        thresholds: T thresholds of the background.
    """
    size = pixels.shape[2], pixels.shape[3]
    (shares,), (segments,), (image,) = describe(pixels)
    affinity = segment_affinity(segments, image, classes, scale, top)
    grid = size[0] // patch_size, size[1] // patch_size
    return window_logits(affinity, pixel_segments(shares, grid, size), thresholds)[None]
