"""BARM: learn new classes without images of the old ones, and adapt the background by residuals.

"Background Adaptation with Residual Modeling for Exemplar-Free Class-Incremental Semantic Segmentation", ECCV 2024.
Losses and their weights are those of the released code (spec BARM 1.4), in its order.

Symbols (the paper's, then ours):
    y, y~           logits    of student and teacher (the network of step t-1), channel 0 background, [B, K, h, w]
    z_i, z~_i       scores    of group i of either, [B, 1 + its classes, h, w]
    g_i, g~_i       features  that the scores are made of, [B, C, h, w]
    r_t             residual  of the background that the new group adds, z_t[0]
    label                     int64 [B, H, W] in channels: new classes, else 0; 255 is left out
    y^              target    labels where old classes are filled in
    m+, m-                    new-class and background pixels of the labels at feature size
    sg                        no gradient
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255
WEIGHTS = {"pseudo": 1.0, "positive": 1.0, "negative": 5.0, "group": 1.0, "background_feature": 4.0}

Outputs = tuple[Tensor, Sequence[Tensor], Sequence[Tensor]]  # logits, scores and features
Item = TypeVar("Item")


def losses(student: Outputs, teacher: Outputs, labels: Tensor, *, threshold: float = 0.7) -> dict[str, Tensor]:
    """L = L_PB + L_+ + 5 L_- + L_GKD + 4 L_BFD of a later step, term by term.

    Each term is 0 where a batch has no pixel that it counts; the released L_- is not a number then.

    Args:
        student, teacher: see above; the student's background is aggregated for learning, the teacher's for inference.
        labels: of the new classes alone.
        threshold: probability from which the teacher's class counts.
    """
    logits, scores, features = student
    old_logits, old_scores, old_features = teacher
    present, background = label_masks(labels, logits.shape[-2:])
    residual = scores[-1][:, :1]
    targets = pseudo_labels(upsample(old_logits, labels), labels, threshold)
    terms = {
        "pseudo": background_bce(upsample(logits, labels), targets, old_logits.shape[1]),
        "positive": adaptation_positive(residual, present),
        "negative": adaptation_negative(residual, background),
        "group": group_distillation(scores[: len(old_scores)], old_scores),
        "background_feature": background_distillation(features[: len(old_features)], old_features, background),
    }
    return {name: WEIGHTS[name] * term for name, term in terms.items()}


def first_losses(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """L of step 0, and of a network that learns all classes at once or without regard to the old ones."""
    return {"bce": bce(upsample(logits, labels), labels)}


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over the channels of the binary cross entropy, mean over the pixels that are not 255; 0 without any.

    Args:
        logits: [B, K, H, W].
        targets: int64 [B, H, W].
    """
    valid = targets != IGNORE
    own = logits.gather(1, targets.masked_fill(~valid, 0)[:, None])[:, 0]
    return ((F.softplus(logits).sum(dim=1) - own) * valid).sum() / valid.sum().clamp(min=1)


@torch.no_grad()
def pseudo_labels(logits: Tensor, labels: Tensor, threshold: float = 0.7) -> Tensor:
    """y^ (1.4.1): on background pixels the teacher's best class, if it is one and its probability, max_c sigma(y~_c)
    over all channels, is at least `threshold`; else the label.

    Args:
        logits: the teacher's, at the labels' size.
    """
    score, best = logits.sigmoid().max(dim=1)
    return torch.where((labels == 0) & (best > 0) & (score >= threshold), best, labels)


def background_bce(logits: Tensor, targets: Tensor, known: int) -> Tensor:
    """L_PB (1.4.2): binary cross entropy of u = [y_bg, sg(y_old), y_new].

    Args:
        known: channels of the teacher, background included.
    """
    u = torch.cat([logits[:, :1], logits[:, 1:known].detach(), logits[:, known:]], dim=1)
    return bce(u, targets)


def label_masks(labels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """m+ and m- (1.4.3), float [B, 1, h, w], of the labels' nearest pixels."""
    nearest = F.interpolate(labels[:, None].float(), size, mode="nearest")
    return ((nearest != 0) & (nearest != IGNORE)).float(), (nearest == 0).float()


def adaptation_positive(residual: Tensor, present: Tensor) -> Tensor:
    """L_+ (1.4.4): on new-class pixels the residual falls, mean of softplus(r_t) over m+."""
    return _masked_mean(F.softplus(residual), present)


def adaptation_negative(residual: Tensor, background: Tensor) -> Tensor:
    """L_- (1.4.5): on background pixels it rises to 0, from where on inference does not see it; mean over m- of
    max(0, (1 - sigma(r_t))^2 - sigma(r_t)^2) = max(0, 1 - 2 sigma(r_t))."""
    return _masked_mean((1 - 2 * residual.sigmoid()).clamp(min=0), background)


def group_distillation(scores: Sequence[Tensor], teacher_scores: Sequence[Tensor]) -> Tensor:
    """L_GKD (1.4.6): binary cross entropy of each old group's scores, residuals included, against the teacher's
    probabilities; sum over groups and channels, mean over pixels."""
    total = 0
    for z, old in zip(scores, teacher_scores, strict=True):
        pixels = F.binary_cross_entropy_with_logits(z, old.detach().sigmoid(), reduction="none")
        total = total + pixels.sum(dim=1).mean()
    return total


def background_distillation(
    features: Sequence[Tensor], teacher_features: Sequence[Tensor], background: Tensor
) -> Tensor:
    """L_BFD (1.4.7): squared distance of the old groups' features on m-; sum over groups, mean over all elements, also
    those that the mask leaves out."""
    pairs = zip(features, teacher_features, strict=True)
    return sum((background * (g - old.detach())).square().mean() for g, old in pairs)


def upsample(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits at the labels' size [B, K, H, W], before any sigmoid, as in training."""
    return F.interpolate(logits, labels.shape[-2:], mode="bilinear")


def probabilities(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """sigma(y) at an image's size [B, K, H, W] for evaluation, where the sigmoid comes before the enlargement (1.8)."""
    return F.interpolate(logits.sigmoid(), size, mode="bilinear")


def seen_images(images: Sequence[Item], *, parity_mode: str = "intended") -> list[Item]:
    """The images of a later step that are learned from (1.6).

    Args:
        parity_mode: `intended`: all, in batches over all devices. `official`: half of them, which is what the
            released run on two GPUs amounts to: gradients are not averaged, the sampler's order is that of epoch 0
            for ever, and the first process, whose weights are saved, has every second image of it.

    Raises:
        ValueError: another mode.
    """
    if parity_mode not in ("official", "intended"):
        raise ValueError(f"parity_mode is {parity_mode!r}; choose official or intended")
    if parity_mode == "intended":
        return list(images)
    # torch's DistributedSampler, seed 0, epoch 0.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return [images[i] for i in order[::2].tolist()]


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
