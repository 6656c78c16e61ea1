"""BARM: learn new classes without images of the old ones, and adapt the background by residuals.

"Background Adaptation with Residual Modeling for Exemplar-Free Class-Incremental Semantic Segmentation", ECCV 2024.
Losses and their weights are those of the released code (`trainer/trainer.py` and `utils/loss.py` of ANDYZAQ/BARM), in
its order.

Symbols (the paper's, then ours):
    y, y~           logits    of student and teacher (the network of step t-1), channel 0 background, [B, K, h, w]
    z_i, z~_i       scores    of group i of either network, [B, 1 + its classes, h, w]
    g_i, g~_i       features  from which group i computes its scores, [B, C, h, w]
    r_t             residual  of the background that the new group adds, z_t[0]
                    labels    channel numbers, int64 [B, H, W]: new classes, 0 elsewhere; 255 is ignored
    y^              targets   labels with pseudo labels of the old classes
    m+, m-                    new-class and background pixels of the labels, at the size of the features
    sg                        stop gradient
"""

from collections.abc import Sequence
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from maskmill.choices import check_choice
from maskmill.data.images import IGNORE
from maskmill.training.devices import divisor

WEIGHTS = {"pseudo": 1.0, "positive": 1.0, "negative": 5.0, "group": 1.0, "background_feature": 4.0}

Outputs = tuple[Tensor, Sequence[Tensor], Sequence[Tensor]]  # logits, scores and features
Item = TypeVar("Item")


def losses(student: Outputs, teacher: Outputs, labels: Tensor, *, threshold: float = 0.7) -> dict[str, Tensor]:
    """Weighted terms of L = L_PB + L_+ + 5 L_- + L_GKD + 4 L_BFD for a step after the first; scalars.

    A term is 0 if the batch has no pixel for it (the released L_- is then not a number).

    Args:
        student, teacher: logits, scores and features; the student's background is aggregated as in training, the
            teacher's as at inference.
        labels: of the new classes only.
        threshold: least probability at which the teacher's class becomes a pseudo label.
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
    """L of step 0, and of a network that learns all classes at once or that ignores the old ones."""
    return {"bce": bce(upsample(logits, labels), labels)}


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy: sum over channels, mean over the pixels that are not 255; 0 if there are none.

    Args:
        logits: [B, K, H, W].
        targets: int64 [B, H, W].
    """
    valid = targets != IGNORE
    target_logits = logits.gather(1, targets.masked_fill(~valid, 0)[:, None])[:, 0]
    return ((F.softplus(logits).sum(dim=1) - target_logits) * valid).sum() / divisor(valid.sum())


@torch.no_grad()
def pseudo_labels(logits: Tensor, labels: Tensor, threshold: float = 0.7) -> Tensor:
    """y^, int64 [B, H, W]: the labels, where on background pixels the teacher's best class replaces 0.

    It does so if it is not the background and if its probability, max_c sigma(y~_c) over all channels, is at least
    `threshold`.

    Args:
        logits: of the teacher, at the size of the labels.
    """
    score, best = logits.sigmoid().max(dim=1)
    return torch.where((labels == 0) & (best > 0) & (score >= threshold), best, labels)


def background_bce(logits: Tensor, targets: Tensor, known: int) -> Tensor:
    """L_PB: binary cross entropy of u = [y_bg, sg(y_old), y_new].

    Args:
        known: number of channels of the teacher, background included.
    """
    u = torch.cat([logits[:, :1], logits[:, 1:known].detach(), logits[:, known:]], dim=1)
    return bce(u, targets)


def label_masks(labels: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """m+ and m- of the labels resized to `size` by nearest neighbour, float [B, 1, h, w]."""
    nearest = F.interpolate(labels[:, None].float(), list(size), mode="nearest")
    return ((nearest != 0) & (nearest != IGNORE)).float(), (nearest == 0).float()


def adaptation_positive(residual: Tensor, present: Tensor) -> Tensor:
    """L_+, the mean of softplus(r_t) over m+: it lowers the residual on pixels of new classes."""
    return _masked_mean(F.softplus(residual), present)


def adaptation_negative(residual: Tensor, background: Tensor) -> Tensor:
    """L_-, the mean over m- of max(0, (1 - sigma(r_t))^2 - sigma(r_t)^2) = max(0, 1 - 2 sigma(r_t)).

    It raises the residual on background pixels to 0, where inference clamps it, so that it has no effect there.
    """
    return _masked_mean((1 - 2 * residual.sigmoid()).clamp(min=0), background)


def group_distillation(scores: Sequence[Tensor], teacher_scores: Sequence[Tensor]) -> Tensor:
    """L_GKD, binary cross entropy of each old group's scores, residuals included, against the teacher's probabilities;
    sum over groups and channels, mean over pixels."""
    terms = [
        F.binary_cross_entropy_with_logits(z, old.detach().sigmoid(), reduction="none").sum(dim=1).mean()
        for z, old in zip(scores, teacher_scores, strict=True)
    ]
    return cast(Tensor, sum(terms))


def background_distillation(
    features: Sequence[Tensor], teacher_features: Sequence[Tensor], background: Tensor
) -> Tensor:
    """L_BFD, squared distance between the student's and the teacher's features of the old groups on m-; sum over
    groups, mean over all elements, also over those outside of the mask."""
    pairs = zip(features, teacher_features, strict=True)
    return cast(Tensor, sum((background * (g - old.detach())).square().mean() for g, old in pairs))


def upsample(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits at the size of the labels, [B, K, H, W]. In training the sigmoid follows the resizing."""
    return F.interpolate(logits, labels.shape[-2:], mode="bilinear")


def probabilities(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """sigma(y) at an image's size, [B, K, H, W]. In evaluation the sigmoid precedes the resizing, as released."""
    return F.interpolate(logits.sigmoid(), size, mode="bilinear")


def sampled_images(images: Sequence[Item], *, parity_mode: str = "intended") -> list[Item]:
    """The images from which a step after the first learns.

    Args:
        images: of the step.
        parity_mode: `intended`: all images, in batches over all devices. `official`: half of the images, as in the
            released run on two GPUs. There the two processes do not average their gradients, the order of the images
            is that of epoch 0 in all epochs, and the first process, which saves its weights, has every second image.

    Raises:
        ValueError: another mode.
    """
    check_choice("parity_mode", parity_mode, ("official", "intended"))
    if parity_mode == "intended":
        return list(images)
    # torch's DistributedSampler, seed 0, epoch 0.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return [images[i] for i in order[::2].tolist()]


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / divisor(mask.sum())
