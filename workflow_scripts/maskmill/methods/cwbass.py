"""CW-BASS: weigh pseudo labels by the teacher's confidence, drop them below a threshold that follows it, and learn
harder at boundaries.

"CW-BASS: Confidence-Weighted Boundary-Aware Learning for Semi-Supervised Semantic Segmentation", IJCNN 2025. Equations
and symbols are those of spec 3.2, in its order; what the second release (arXiv 2608.12773) changes stands at the end.

Symbols (the paper's, then ours):
    z_T, z_S  logits        of teacher and student, [B, K, H, W]
    c         confidence    the teacher's highest probability, [B, H, W]
    y^        labels        its class, int64 [B, H, W]; 255 where there is none (padding, cut out)
    tau       threshold     labels with c <= tau are dropped; a scalar, or one value a class [K]
    V         labels that are left, 255 elsewhere
    w         weight        (d c)^gamma
    B         edges         boundary pixels of y^, bool [B, H, W]

Released variants differ from the paper's pipeline; `VARIANTS` lists how.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORE = 255
MIN_PIXELS = 10  # of a class in a batch, below which its mean confidence is left as it is

# Spec 3.3 and 3.4: the paper's teacher is trained on labelled images and labels the others once; the released ones are
# the student's moving average, with the settings in `ema`. Boundaries and weights are the same in all. `joined`: see
# `student_logits`; it is not known of the paper.
VARIANTS = {
    "paper": {
        "ema": None,
        "threshold": "dynamic",
        "joined": True,
        "class_balanced": False,
        "averaged": False,
        "cutmix": False,
    },
    "online": {
        "ema": {"decay": 0.999, "buffers": "copied"},
        "threshold": "dynamic",
        "joined": False,
        "class_balanced": False,
        "averaged": False,
        "cutmix": False,
    },
    "v2": {
        "ema": {"decay": 0.996, "warm_up": True, "buffers": "averaged"},
        "threshold": "adaptive",
        "joined": False,
        "class_balanced": True,
        "averaged": True,
        "cutmix": True,
    },
}


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

    With these defaults it stays within 0.300..0.337. The mean is over all pixels of the batch that have a label; in the
    released code padding has one.
    """
    known = labels != IGNORE
    mean = (confidence.float() * known).sum() / known.sum().clamp(min=1)
    return _sigmoid_threshold(mean, t0, beta).clamp(tau_min, tau_max)


def no_threshold(confidence: Tensor, labels: Tensor) -> float:
    """tau that no label falls below."""
    return 0.0


def retained(labels: Tensor, confidence: Tensor, threshold: Tensor | float) -> Tensor:
    """V: the labels with c > tau, strictly; 255 elsewhere.

    Args:
        threshold: a scalar, or one value a class [K].
    """
    if isinstance(threshold, Tensor) and threshold.ndim:
        threshold = threshold[labels.clamp(max=len(threshold) - 1)]
    return torch.where(confidence > threshold, labels, IGNORE)


def boundaries(labels: Tensor, *, pad: str = "zeros") -> Tensor:
    """B, bool [B, H, W]: pixels where the Sobel gradient of any class's indicator is not zero.

    To be taken of y^ before the threshold. A straight border is two pixels wide; the centre of a single deviating pixel
    is none, its eight neighbours are.

    Args:
        labels: int64 [B, H, W]; 255 is like outside the image.
        pad: outside the image `zeros` has no class, so that the whole frame is a boundary (released code); `replicate`
            goes on with the outermost pixels, and drops what borders on 255.
    """
    _check("pad", pad, ("zeros", "replicate"))
    outside = {"mode": "constant", "value": IGNORE} if pad == "zeros" else {"mode": "replicate"}
    framed = F.pad(labels[:, None].float(), (1, 1, 1, 1), **outside)[:, 0]
    edges = _changes_across(framed) | _changes_across(framed.transpose(1, 2)).transpose(1, 2)
    if pad == "replicate":
        unknown = (labels == IGNORE).float()
        edges &= F.max_pool2d(unknown, 3, stride=1, padding=1) == 0
    return edges


def _changes_across(labels: Tensor) -> Tensor:
    """Whether some class's Sobel gradient along the rows of [B, H+2, W+2] is not zero, [B, H, W].

    That is, whether the columns at both sides differ, each with weights 1, 2, 1 as Sobel's. They give all classes the
    same weight only with equal middles and ends, or if each one's ends are the other one's middle.
    """
    columns = labels[..., :-2], labels[..., 2:]
    (top_1, middle_1, end_1), (top_2, middle_2, end_2) = ((c[:, :-2], c[:, 1:-1], c[:, 2:]) for c in columns)
    equal_ends = ((top_1 == top_2) & (end_1 == end_2)) | ((top_1 == end_2) & (end_1 == top_2))
    swapped = (top_1 == middle_2) & (end_1 == middle_2) & (top_2 == middle_1) & (end_2 == middle_1)
    return ~(((middle_1 == middle_2) & equal_ends) | swapped)


def decay_factor(epoch: int, *, decay: str = "none", d: float = 0.9) -> float:
    """Factor on the confidence: 1 for `none`; d for `constant`, which is all that any release does; d^epoch for
    `exponential`, our reading of "progressive". `epoch` counts from 0."""
    _check("decay", decay, ("none", "constant", "exponential"))
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
    return (weight * losses).sum() / (labels != IGNORE).sum().clamp(min=1)


def boundary_loss(logits: Tensor, labels: Tensor, edges: Tensor) -> Tensor:
    """L_bnd = 1/|V and B| sum over V and B of CE, not weighted; 0 where there are none. Arguments as above."""
    labels = labels.masked_fill(~edges, IGNORE)
    return confidence_weighted_loss(logits, labels, torch.ones((), device=logits.device))


def ramp(iteration: int, iterations: int) -> float:
    """r(t) = min(1, t / iterations), t counted from 0; 1 without a ramp (iterations 0). Official: five epochs."""
    return min(1.0, iteration / iterations) if iterations else 1.0


def student_logits(
    model: Callable[[Tensor], Tensor], labelled: Tensor, unlabelled: Tensor, *, joined: bool
) -> tuple[Tensor, Tensor]:
    """z_S of labelled and unlabelled images [B, 3, H, W]: as one batch where `joined`, so that batch norms see both;
    else one after the other, as the releases do."""
    if joined:
        return model(torch.cat([labelled, unlabelled])).chunk(2)
    return model(labelled), model(unlabelled)


def losses(
    labelled_logits: Tensor,
    truth: Tensor,
    unlabelled_logits: Tensor,
    labels: Tensor,
    confidence: Tensor,
    threshold: Tensor | float,
    *,
    strength: float = 1.0,
    weighted: bool = True,
    gamma: float = 1.0,
    factor: float = 1.0,
    boundary_weight: float = 0.5,
    boundary_pad: str = "zeros",
    class_balanced: bool = False,
    averaged: bool = False,
) -> dict[str, Tensor]:
    """L = CE(z_S(x_l), y) + lambda_u r(t) (L_cw + 0.5 L_bnd), term by term.

    Args:
        labelled_logits, truth: student's logits on labelled images and their masks (255 left out).
        unlabelled_logits: student's logits on the unlabelled images.
        labels, confidence: the teacher's, on the same crops.
        threshold: tau of `dynamic_threshold`, of `AdaptiveThreshold`, or a constant.
        strength: lambda_u r(t).
        weighted: False leaves the confidence out of L_cw (w = 1).
        gamma, factor: of `confidence_weight`.
        boundary_weight: 0 leaves L_bnd out.
        class_balanced: whether `class_balance` weighs L_cw too.
        averaged: whether the sum of the labelled and the unlabelled part is halved (second release).
    """
    left = retained(labels, confidence, threshold)
    weight = confidence_weight(confidence, gamma=gamma, factor=factor) if weighted else torch.ones_like(confidence)
    num_classes = unlabelled_logits.shape[1]
    if class_balanced:
        weight = weight * class_balance(left, num_classes)[left.clamp(max=num_classes - 1)]
    share = 0.5 if averaged else 1.0
    terms = {
        "supervised": share * confidence_weighted_loss(labelled_logits, truth, labelled_logits.new_ones(())),
        "confidence_weighted": share * strength * confidence_weighted_loss(unlabelled_logits, left, weight),
    }
    if boundary_weight:
        edges = boundaries(labels, pad=boundary_pad)
        terms["boundary"] = share * strength * boundary_weight * boundary_loss(unlabelled_logits, left, edges)
    return terms


# The second release


class AdaptiveThreshold(nn.Module):
    """tau of the second release: the formula on slow averages, held up by a floor that rises with the confidence.

    mu_k, the mean confidence of class k, follows its batches with 0.999 (from the first batch that shows the class; 0.5
    before); F, the mean confidence, with 0.99 from T0. The formula takes the mean of all mu_k.

    Args:
        floor: `none` (its method "cwbass"); `global` clip(0.95 F, tau_min, tau_max) ("cwbass_v2"); `per_class` the same
            with 0.95 F mu_k / max_j mu_j, which asks less of classes that are learnt late.

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
        _check("floor", floor, ("none", "global", "per_class"))
        self.t0, self.beta, self.tau_min, self.tau_max, self.floor = t0, beta, tau_min, tau_max, floor
        self.class_momentum, self.floor_momentum, self.floor_scale = class_momentum, floor_momentum, floor_scale
        self.register_buffer("class_confidence", torch.full((num_classes,), 0.5))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("mean_confidence", torch.tensor(float(t0)))

    @torch.no_grad()
    def forward(self, confidence: Tensor, labels: Tensor) -> Tensor:
        """Takes in a batch's confidence and labels [B, H, W], then returns tau, [K]."""
        known = labels != IGNORE
        confidence, labels = confidence[known].double(), labels[known]  # float32 loses digits over millions
        if len(labels):
            self._follow(confidence, labels)
        dynamic = _sigmoid_threshold(self.class_confidence.mean(), self.t0, self.beta).clamp(self.tau_min, self.tau_max)
        threshold = dynamic.expand(len(self.class_confidence))
        if self.floor == "none":
            return threshold
        floor = self.floor_scale * self.mean_confidence
        if self.floor == "per_class":
            floor = floor * self.class_confidence / self.class_confidence.max()
        return threshold.maximum(floor.clamp(self.tau_min, self.tau_max))

    def _follow(self, confidence: Tensor, labels: Tensor) -> None:
        num_classes = len(self.class_confidence)
        pixels = labels.bincount(minlength=num_classes)
        means = (labels.bincount(confidence, minlength=num_classes) / pixels.clamp(min=1)).float()
        shown = pixels >= MIN_PIXELS
        followed = torch.where(self.seen, self.class_confidence.lerp(means, 1 - self.class_momentum), means)
        self.class_confidence.copy_(torch.where(shown, followed, self.class_confidence))
        self.seen |= shown
        self.mean_confidence.lerp_(confidence.mean().float(), 1 - self.floor_momentum)


def cutmix(hole: Tensor, *maps: Tensor) -> list[Tensor]:
    """Fills each image's hole with what its predecessor in the batch shows there.

    Args:
        hole: bool [B, 1, H, W].
        maps: images [B, C, H, W], labels or confidence [B, H, W] of one batch.
    """
    return [torch.where(hole if m.ndim == 4 else hole[:, 0], m.roll(1, dims=0), m) for m in maps]


def threshold_then_mix(
    tau_of: Callable[[Tensor, Tensor], Tensor | float],
    images: Tensor,
    labels: Tensor,
    confidence: Tensor,
    hole: Tensor | None = None,
) -> tuple[Tensor | float, list[Tensor]]:
    """tau of confidence and labels as the teacher gave them; only then holes are filled, where there are some.

    Returns:
        tau, and images, labels and confidence as the student learns from them.
    """
    maps = [images, labels, confidence]
    return tau_of(confidence, labels), maps if hole is None else cutmix(hole, *maps)


@torch.no_grad()
def class_balance(labels: Tensor, num_classes: int) -> Tensor:
    """Weights [K] inverse to the classes' numbers of pixels, of mean 1 over the classes that occur, 0 for others."""
    pixels = labels[labels != IGNORE].bincount(minlength=num_classes)
    weights = torch.where(pixels > 0, 1 / pixels.clamp(min=1), 0.0)
    return weights * (pixels > 0).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _sigmoid_threshold(mean: Tensor, t0: float, beta: float) -> Tensor:
    return t0 * torch.sigmoid(beta * (mean - 0.5))


def _check(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(options)}")
