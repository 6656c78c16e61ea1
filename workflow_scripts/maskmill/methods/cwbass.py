"""CW-BASS: weigh pseudo labels by the teacher's confidence, drop them below a threshold that follows it, and learn
harder at boundaries.

"CW-BASS: Confidence-Weighted Boundary-Aware Learning for Semi-Supervised Semantic Segmentation", IJCNN 2025. Equations
follow the released code, in the paper's order; what the second release (arXiv 2608.12773) changes comes last.

Symbols (the paper's, then ours):
    z_T, z_S  logits        of teacher and student, [B, K, H, W]
    c         confidence    the teacher's highest probability, [B, H, W]
    y^        labels        its class, int64 [B, H, W]; 255 where there is none (padding, holes)
    tau       threshold     labels with c <= tau are dropped; a scalar, or one value per class [K]
    V         retained      labels with c > tau; 255 elsewhere
    w         weight        (d c)^gamma
    B         edges         boundary pixels of y^, bool [B, H, W]

The released variants differ from the paper's pipeline; `VARIANTS` lists how.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskmill.choices import check_choice
from maskmill.data.images import IGNORE
from maskmill.training.devices import divisor, summed

MIN_PIXELS = 10  # of a class in a batch, below which its mean confidence is left as it is


@dataclass(frozen=True)
class Release:
    """One of the pipelines: the paper's, or one of the two releases. Boundaries and weights are the same in all.

    Attributes:
        ema: keyword arguments of `EMA` for a teacher that is the student's moving average; None: the teacher is trained
            on the labelled images and labels the others once.
        strong: whether unlabelled images get a strong augmentation.
        cutmix: whether `cutmix` mixes the unlabelled images, which the strong augmentation then cuts no holes into.
        adaptive: whether tau is that of `AdaptiveThreshold`; False: that of `dynamic_threshold`.
        joined: see `student_logits`. The paper does not say.
        class_balanced: whether `class_balance` weighs L_cw.
        averaged: whether the sum of the labelled and the unlabelled part of the loss is halved.
        ramped: whether the unlabelled part of the loss rises from 0, see `ramp`.
        teacher_scored: whether the moving average is the result of the training; False: the student is.
    """

    ema: dict | None = None
    strong: bool = True
    cutmix: bool = False
    adaptive: bool = False
    joined: bool = False
    class_balanced: bool = False
    averaged: bool = False
    ramped: bool = True
    teacher_scored: bool = False


VARIANTS = {
    "paper": Release(joined=True),
    "online": Release(ema={"decay": 0.999, "buffers": "copied"}, strong=False),
    "v2": Release(
        ema={"decay": 0.996, "warm_up": True, "buffers": "averaged"},
        cutmix=True,
        adaptive=True,
        class_balanced=True,
        averaged=True,
        ramped=False,
        teacher_scored=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """The parts of the loss that rows of the ablation table change.

    Attributes:
        weighted: whether the confidence weighs L_cw; False: w = 1.
        thresholded: whether tau drops labels; False: none is dropped.
        gamma: exponent of the confidence, see `confidence_weight`.
        decay, d: see `decay_factor`.
        boundary_weight: weight of L_bnd; 0 leaves it out.
        boundary_pad: see `boundaries`.
    """

    weighted: bool = True
    thresholded: bool = True
    gamma: float = 1.0
    decay: str = "none"
    d: float = 0.9
    boundary_weight: float = 0.5
    boundary_pad: str = "zeros"


class PseudoLabels(NamedTuple):
    """The teacher's labels of unlabelled crops.

    Attributes:
        labels: y^, int64 [B, H, W].
        confidence: c, float [B, H, W] in 0..1.
        threshold: tau of `dynamic_threshold`, of `AdaptiveThreshold`, or a constant.
    """

    labels: Tensor
    confidence: Tensor
    threshold: Tensor | float


@torch.no_grad()
def pseudo_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """c = max_k p_k, float [B, H, W] in 0..1, and y^ = argmax_k p_k, int64 [B, H, W], of the teacher's logits."""
    return logits.softmax(dim=1).max(dim=1)


@torch.no_grad()
def dynamic_threshold(
    confidence: Tensor,
    labels: Tensor,
    *,
    t0: float = 0.6,
    beta: float = 0.5,
    tau_min: float = 0.3,
    tau_max: float = 0.8,
) -> Tensor:
    """tau = clip(T0 / (1 + exp(-beta (mean(c) - 0.5))), tau_min, tau_max), a scalar.

    With these defaults it stays within 0.300..0.337. The mean is over all pixels of the batch that have a label, on
    all devices; the released code counts padding too.
    """
    known = labels != IGNORE
    mean = summed((confidence.float() * known).sum()) / summed(known.sum()).clamp(min=1)
    return _sigmoid_threshold(mean, t0, beta).clamp(tau_min, tau_max)


def no_threshold(confidence: Tensor, labels: Tensor) -> float:
    """tau that drops no label."""
    return 0.0


def retained(labels: Tensor, confidence: Tensor, threshold: Tensor | float) -> Tensor:
    """V: the labels with c > tau, strictly; 255 elsewhere.

    Args:
        threshold: a scalar, or one value per class [K].
    """
    if isinstance(threshold, Tensor) and threshold.ndim:
        threshold = threshold[labels.clamp(max=len(threshold) - 1)]
    return torch.where(confidence > threshold, labels, IGNORE)


def boundaries(labels: Tensor, *, pad: str = "zeros") -> Tensor:
    """B, bool [B, H, W]: pixels where the Sobel gradient of any class's indicator is not zero.

    The labels are y^ before the threshold. A straight border is two pixels wide. A single deviating pixel is no
    boundary itself, but its eight neighbours are.

    Args:
        labels: int64 [B, H, W]; 255 counts as outside the image.
        pad: `zeros`: outside the image there is no class, so that the whole frame is a boundary (released code);
            `replicate`: the outermost pixels continue outside, and pixels next to 255 are no boundary.
    """
    check_choice("pad", pad, ("zeros", "replicate"))
    outside = {"mode": "constant", "value": IGNORE} if pad == "zeros" else {"mode": "replicate"}
    framed = F.pad(labels[:, None].float(), (1, 1, 1, 1), **outside)[:, 0]
    edges = _changes_across(framed) | _changes_across(framed.transpose(1, 2)).transpose(1, 2)
    if pad == "replicate":
        unknown = (labels == IGNORE).float()
        edges &= F.max_pool2d(unknown, 3, stride=1, padding=1) == 0
    return edges


def _changes_across(labels: Tensor) -> Tensor:
    """Whether some class's Sobel gradient along the rows of [B, H+2, W+2] is not zero, [B, H, W].

    The gradient compares the columns at both sides, each weighted 1, 2, 1. Both columns give every class the same
    weight only if their middles and their ends are equal, or if each column's ends are the other column's middle.
    """
    columns = labels[..., :-2], labels[..., 2:]
    (top_1, middle_1, end_1), (top_2, middle_2, end_2) = ((c[:, :-2], c[:, 1:-1], c[:, 2:]) for c in columns)
    equal_ends = ((top_1 == top_2) & (end_1 == end_2)) | ((top_1 == end_2) & (end_1 == top_2))
    swapped = (top_1 == middle_2) & (end_1 == middle_2) & (top_2 == middle_1) & (end_2 == middle_1)
    return ~(((middle_1 == middle_2) & equal_ends) | swapped)


def decay_factor(epoch: int, *, decay: str = "none", d: float = 0.9) -> float:
    """Factor on the confidence: 1 for `none`; d for `constant`, as in all releases; d^epoch for `exponential`, our
    reading of the paper's "progressive". `epoch` counts from 0."""
    check_choice("decay", decay, ("none", "constant", "exponential"))
    return {"none": 1.0, "constant": d, "exponential": d**epoch}[decay]


def confidence_weight(confidence: Tensor, *, gamma: float = 1.0, factor: float = 1.0) -> Tensor:
    """w = (d c)^gamma, [B, H, W]; `factor` is d, see `decay_factor`."""
    return (factor * confidence) ** gamma


def confidence_weighted_loss(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """L_cw = 1/|V| sum over V of w CE, a scalar; 0 where V is empty.

    Args:
        logits: the student's [B, K, H, W].
        labels: V of `retained`, int64 [B, H, W].
        weight: w [B, H, W].
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    return (weight * losses).sum() / divisor((labels != IGNORE).sum())


def boundary_loss(logits: Tensor, labels: Tensor, edges: Tensor) -> Tensor:
    """L_bnd = 1/|V and B| sum over V and B of CE, not weighted; 0 where there are none. Arguments as above."""
    labels = labels.masked_fill(~edges, IGNORE)
    return confidence_weighted_loss(logits, labels, torch.ones((), device=logits.device))


def ramp(iteration: int, iterations: int) -> float:
    """r(t) = min(1, t / iterations), t counted from 0; 1 where `iterations` is 0. First release: five epochs."""
    return min(1.0, iteration / iterations) if iterations else 1.0


def student_logits(
    model: Callable[[Tensor], Tensor], labelled: Tensor, unlabelled: Tensor, *, joined: bool
) -> tuple[Tensor, Tensor]:
    """z_S of labelled and unlabelled images [B, 3, H, W]: as one batch where `joined`, so that batch norms see both;
    else one after the other, as the releases do."""
    if joined:
        on_labelled, on_unlabelled = model(torch.cat([labelled, unlabelled])).chunk(2)
        return on_labelled, on_unlabelled
    return model(labelled), model(unlabelled)


def losses(
    labelled_logits: Tensor,
    truth: Tensor,
    unlabelled_logits: Tensor,
    pseudo: PseudoLabels,
    *,
    settings: LossSettings,
    release: Release,
    epoch: int = 0,
    strength: float = 1.0,
) -> dict[str, Tensor]:
    """L = CE(z_S(x_l), y) + lambda_u r(t) (L_cw + 0.5 L_bnd), term by term.

    Args:
        labelled_logits, truth: student's logits on labelled images and their masks; pixels labelled 255 do not count.
        unlabelled_logits: student's logits on the unlabelled images.
        pseudo: the teacher's labels of the same crops.
        settings: which parts of the loss there are.
        release: the pipeline, whose fields `class_balanced` and `averaged` count here.
        epoch: counted from 0, for `decay_factor`.
        strength: lambda_u r(t).
    """
    labels, confidence, threshold = pseudo
    valid = retained(labels, confidence, threshold)
    factor = decay_factor(epoch, decay=settings.decay, d=settings.d)
    weight = torch.ones_like(confidence)
    if settings.weighted:
        weight = confidence_weight(confidence, gamma=settings.gamma, factor=factor)
    num_classes = unlabelled_logits.shape[1]
    if release.class_balanced:
        weight = weight * class_balance(valid, num_classes)[valid.clamp(max=num_classes - 1)]
    share = 0.5 if release.averaged else 1.0
    terms = {
        "supervised": share * confidence_weighted_loss(labelled_logits, truth, labelled_logits.new_ones(())),
        "confidence_weighted": share * strength * confidence_weighted_loss(unlabelled_logits, valid, weight),
    }
    if settings.boundary_weight:
        edges = boundaries(labels, pad=settings.boundary_pad)
        boundary = boundary_loss(unlabelled_logits, valid, edges)
        terms["boundary"] = share * strength * settings.boundary_weight * boundary
    return terms


# The second release


class AdaptiveThreshold(nn.Module):
    """tau of the second release: the formula of `dynamic_threshold` on moving averages, and a floor below it that
    rises with the confidence.

    mu_k, the mean confidence of class k, is a moving average over the batches with momentum 0.999; it is 0.5 until the
    first batch that has the class, and that batch's mean then. F, the mean confidence of all pixels, is one with
    momentum 0.99 that starts at T0. The formula takes the mean of all mu_k.

    Args:
        floor: `none` (the release's method "cwbass"); `global`: clip(0.95 F, tau_min, tau_max) ("cwbass_v2");
            `per_class`: the same with 0.95 F mu_k / max_j mu_j, a lower floor for classes that are learned late.

    The state is in buffers, so that it can be saved with the network.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        t0: float = 0.6,
        beta: float = 0.5,
        tau_min: float = 0.3,
        tau_max: float = 0.95,
        floor: str = "global",
        class_momentum: float = 0.999,
        floor_momentum: float = 0.99,
        floor_scale: float = 0.95,
    ):
        super().__init__()
        check_choice("floor", floor, ("none", "global", "per_class"))
        self.t0, self.beta, self.tau_min, self.tau_max, self.floor = t0, beta, tau_min, tau_max, floor
        self.class_momentum, self.floor_momentum, self.floor_scale = class_momentum, floor_momentum, floor_scale
        self.register_buffer("class_confidence", torch.full((num_classes,), 0.5))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("mean_confidence", torch.tensor(float(t0)))

    @torch.no_grad()
    def forward(self, confidence: Tensor, labels: Tensor) -> Tensor:
        """Update the averages with the confidence and labels [B, H, W] of a batch, of all devices; return tau, [K]."""
        known = labels != IGNORE
        confidence, labels = confidence[known].double(), labels[known]  # float32 loses digits over millions
        num_classes = len(self.class_confidence)
        pixels = summed(labels.bincount(minlength=num_classes))
        sums = summed(labels.bincount(confidence, minlength=num_classes).double())  # integers where there is no label
        if pixels.any():
            self._follow(pixels, sums)
        dynamic = _sigmoid_threshold(self.class_confidence.mean(), self.t0, self.beta).clamp(self.tau_min, self.tau_max)
        threshold = dynamic.expand(num_classes)
        if self.floor == "none":
            return threshold
        floor = self.floor_scale * self.mean_confidence
        if self.floor == "per_class":
            floor = floor * self.class_confidence / self.class_confidence.max()
        return threshold.maximum(floor.clamp(self.tau_min, self.tau_max))

    def _follow(self, pixels: Tensor, sums: Tensor) -> None:
        means = (sums / pixels.clamp(min=1)).float()
        present = pixels >= MIN_PIXELS
        averages = torch.where(self.seen, self.class_confidence.lerp(means, 1 - self.class_momentum), means)
        self.class_confidence.copy_(torch.where(present, averages, self.class_confidence))
        self.seen |= present
        self.mean_confidence.lerp_((sums.sum() / pixels.sum()).float(), 1 - self.floor_momentum)


def mixing_box(size: Sequence[int], rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of CutMix's box: sides of sqrt(1 - lambda) of the image's, lambda uniform in 0..1, around a
    uniform pixel, cut off at the image's frame.

    Args:
        size: height and width, pixels.
    """
    share = math.sqrt(1 - rng.random())
    rows, columns = (_box_side(length, int(length * share) // 2, rng) for length in size)
    return rows, columns


def _box_side(length: int, half: int, rng: np.random.Generator) -> slice:
    middle = int(rng.integers(0, length, endpoint=True))
    return slice(max(middle - half, 0), min(middle + half, length))


def cutmix(maps: list[Tensor], rng: np.random.Generator) -> list[Tensor]:
    """Copy one box, the same for the whole batch, into each image from its donor: the images in a random order.

    Args:
        maps: images [B, C, H, W], labels or confidence [B, H, W] of one batch.
        rng: draws the box and the order.
    """
    rows, columns = mixing_box(maps[0].shape[-2:], rng)
    donors = torch.from_numpy(rng.permutation(len(maps[0]))).to(maps[0].device)
    mixed = [m.clone() for m in maps]
    for target, source in zip(mixed, maps, strict=True):
        target[..., rows, columns] = source[donors][..., rows, columns]
    return mixed


def threshold_then_mix(
    threshold_of: Callable[[Tensor, Tensor], Tensor | float],
    images: Tensor,
    labels: Tensor,
    confidence: Tensor,
    rng: np.random.Generator | None = None,
) -> tuple[Tensor | float, list[Tensor]]:
    """Take tau of the teacher's confidence and labels as they are, and only then mix, with `rng`; None: do not.

    Returns:
        tau, and images, labels and confidence as the student learns from them.
    """
    maps = [images, labels, confidence]
    return threshold_of(confidence, labels), maps if rng is None else cutmix(maps, rng)


@torch.no_grad()
def class_balance(labels: Tensor, num_classes: int) -> Tensor:
    """Weights [K] inverse to the classes' numbers of pixels, of mean 1 over the classes that occur, 0 for others."""
    pixels = summed(labels[labels != IGNORE].bincount(minlength=num_classes))
    weights = torch.where(pixels > 0, 1 / pixels.clamp(min=1), 0.0)
    return weights * (pixels > 0).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _sigmoid_threshold(mean: Tensor, t0: float, beta: float) -> Tensor:
    return t0 * torch.sigmoid(beta * (mean - 0.5))
