"""STEGO: unsupervised features whose correlations follow, more sharply, those of a frozen backbone.

M. Hamilton, Z. Zhang, B. Hariharan, N. Snavely, W. T. Freeman: "Unsupervised Semantic Segmentation by
Distilling Feature Correspondences", ICLR 2022. MARS takes the codes of the trained head as its embedding.

Symbols: f features [B, D, h, w] of the frozen backbone, s codes [B, K, h, w] of the head, F_hwij and S_hwij their
correlations between two images, b shift, lambda weight. A batch pairs each image with itself (intra), with one of its
nearest neighbours (inter) and with other images of the batch (negative).

All random numbers come from the generator that is passed in, which may be on another device than the features.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from maskmill.choices import check_choice


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each position of `a` [B, D, h, w] with each position of `b` [B, D, i, j]: [B, h, w, i, j]."""
    a, b = F.normalize(a, dim=1, eps=1e-10), F.normalize(b, dim=1, eps=1e-10)
    return torch.einsum("bdhw,bdij->bhwij", a, b)


def sample(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of features [B, D, h, w] at points [B, n, m, 2]: [B, D, n, m].

    Points are (x, y) in -1..1, where -1 and 1 are the centres of the outermost positions.
    """
    return F.grid_sample(features, points, mode="bilinear", padding_mode="border", align_corners=True)


def correlation_loss(
    f1: Tensor,
    f2: Tensor,
    c1: Tensor,
    c2: Tensor,
    shift: float,
    *,
    pointwise: bool = True,
    zero_clamp: bool = True,
    stabilise: bool = False,
) -> Tensor:
    """The correlation loss before its mean, -max(S, 0) (F - b): [B, h, w, i, j]. No gradient reaches f1, f2.

    Args:
        f1, f2: features at the sampled points of two images, [B, D, h, w] and [B, D, i, j].
        c1, c2: codes at the same points, [B, K, ...].
        shift: b; pairs with a larger feature correlation attract, others repel.
        pointwise: spatial centring: subtract from F its mean over the second image, but keep the overall mean.
        zero_clamp: negative code correlations become 0, so that pairs that repel need not become opposite.
        stabilise: code correlations are at most 0.8.
    """
    with torch.no_grad():
        target = correlation(f1, f2)
        if pointwise:
            target = target - target.mean(dim=(3, 4), keepdim=True) + target.mean()
    lowest, highest = 0.0 if zero_clamp else -torch.inf, 0.8 if stabilise else torch.inf
    return -correlation(c1, c2).clamp(lowest, highest) * (target - shift)


def channel_dropout(features: Tensor, rate: float, generator: Generator) -> Tensor:
    """Zero whole channels of features [B, D, h, w] with probability `rate`; divide the others by 1 - rate."""
    shape = (*features.shape[:2], 1, 1)
    kept = torch.rand(shape, generator=generator, device=generator.device) >= rate
    return features * kept.to(features.device) / (1 - rate)


def encode(
    head: Callable[[Tensor, Tensor], Tensor], features: Tensor, *, dropout: float = 0.1, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Features [B, D, h, w] and their codes [B, K, h, w] for a training step.

    Channels are dropped three times, independently: for each branch of the head and for the correlations.

    Args:
        head: see `StegoHead`.
        dropout: rate.
    """
    linear, nonlinear, target = (channel_dropout(features, dropout, generator) for _ in range(3))
    return target, head(linear, nonlinear)


def stego_loss(
    features: Tensor,
    codes: Tensor,
    positive_features: Tensor,
    positive_codes: Tensor,
    *,
    weights: dict[str, float],
    shifts: dict[str, float],
    points: int = 11,
    negatives: int = 5,
    pointwise: bool = True,
    zero_clamp: bool = True,
    stabilise: bool = False,
    partners: str = "official",
    generator: Generator,
) -> dict[str, Tensor]:
    """The weighted terms `intra`, `inter` and `negative` (scalars) of one batch; the loss is their sum.

    Args:
        features, codes: of the images, [B, D, h, w] and [B, K, h, w], B >= 2.
        positive_features, positive_codes: of one nearest neighbour of each image, same shapes.
        weights, shifts: lambda and b of each term, by its name.
        points: each image gives points x points sampled positions.
        negatives: number of comparisons of each image with another image of the batch.
        pointwise, zero_clamp, stabilise: see `correlation_loss`.
        partners: which other images the negative term takes: `official`, a permutation of the batch, in which an image
            that would meet itself meets the next one (the released `super_perm`); `independent`, a random one for each.

    Raises:
        ValueError: the batch has a single image, or `partners` is another word.
    """
    check_choice("partners", partners, ("official", "independent"))
    batch = len(features)
    if batch < 2:
        raise ValueError("the negative term compares different images: a batch needs two or more")
    shape = (batch, points, points, 2)
    points_1, points_2 = (_uniform(shape, generator).to(features.device, features.dtype) for _ in range(2))
    f, c = sample(features, points_1), sample(codes, points_1)

    def term(name: str, other_features: Tensor, other_codes: Tensor) -> Tensor:
        switches = {"pointwise": pointwise, "zero_clamp": zero_clamp, "stabilise": stabilise}
        return weights[name] * correlation_loss(f, other_features, c, other_codes, shifts[name], **switches).mean()

    negative = []
    for _ in range(negatives):
        other = (_permuted if partners == "official" else _others)(batch, generator).to(features.device)
        negative.append(term("negative", sample(features[other], points_2), sample(codes[other], points_2)))
    return {
        "intra": term("intra", f, c),
        "inter": term("inter", sample(positive_features, points_2), sample(positive_codes, points_2)),
        "negative": torch.stack(negative).mean(),
    }


def nearest_neighbours(pooled: Tensor, k: int, chunk: int = 1024) -> Tensor:
    """The k most similar other rows of each row of `pooled` [N, D] by cosine, nearest first: int64 [N, k].

    The function works on `chunk` rows at a time, so memory is chunk x N.
    """
    unit = F.normalize(pooled, dim=1)
    neighbours = []
    for start in range(0, len(unit), chunk):
        similarity = unit[start : start + chunk] @ unit.T
        rows = torch.arange(len(similarity), device=unit.device)
        similarity[rows, start + rows] = -torch.inf  # an image is not its own neighbour
        neighbours.append(similarity.topk(k, dim=1).indices)
    return torch.cat(neighbours)


def _uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Random numbers, uniform in -1..1."""
    return torch.rand(shape, generator=generator, device=generator.device) * 2 - 1


def _permuted(batch: int, generator: Generator) -> Tensor:
    """A permutation of the batch whose fixed points are moved on by one, so that few images occur twice: int64 [B]."""
    order = torch.randperm(batch, generator=generator, device=generator.device)
    return (order + (order == torch.arange(batch, device=generator.device))) % batch


def _others(batch: int, generator: Generator) -> Tensor:
    """For each image of the batch the index of a random other one, int64 [B]."""
    steps = torch.randint(1, batch, (batch,), generator=generator, device=generator.device)
    return (torch.arange(batch, device=generator.device) + steps) % batch
