"""BAS: background activation suppression (Wu et al., CVPR 2022; Zhai et al., IJCV 2024).

A classifier needs only a part of an object, so its activation S of the true class does not tell how much of the object
a map covers. BAS erases what a map M_f covers and measures the activation S_b of the rest. If the map covers the whole
object, S_b is 0 (L_bas); if it covers more than the object, its area is larger than necessary (L_ac).

Symbols: `scores` f2(F) [B, C, h', w'], `foreground` M_f [B, 1, h, w] in 0..1, `erased` scores f2~(F M_b)
[B, C, h', w'], `labels` y int64 [B] in 0..C-1. Numbers of equations are those of the extension (IJCV).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Value of L_bas where the background is more active than the image: 1, but 0 for VGG in the extension and for every
# network in the CVPR release. It has no gradient, so it only changes the logged loss.
SATURATED = {"vgg16": 0.0}


def logits(scores: Tensor) -> Tensor:
    """Logits [B, C] by global average pooling (GAP) of score maps [B, C, h', w']."""
    return scores.mean(dim=(2, 3))


def activation(scores: Tensor, labels: Tensor) -> Tensor:
    """S (of f2(F)) or S_b (of f2~(F M_b)): the mean score of each image's class, [B]."""
    return logits(scores).gather(1, labels[:, None])[:, 0]


def background_activation(scores: Tensor, erased: Tensor, labels: Tensor, *, saturated: float = 1.0) -> Tensor:
    """L_bas, Eq. 3, of each image: ReLU(S_b) / (ReLU(S) + 1e-8), [B] in 0..1.

    No gradient reaches S. Where S_b > S the value is the constant `saturated`, which has no gradient either; if it were
    the ratio, training would collapse (issue 2 of the released code wpy1999/BAS).
    """
    whole = activation(scores, labels).detach().relu()
    background = activation(erased, labels).relu()
    ratio = background / (whole + 1e-8)
    return torch.where(background > whole, saturated, ratio)


def area(foreground: Tensor) -> Tensor:
    """L_ac, Eq. 4, of each image: the mean of M_f, [B]."""
    return foreground.mean(dim=(1, 2, 3))


def foreground_guidance(scores: Tensor, foreground: Tensor, labels: Tensor) -> Tensor:
    """L_frg, Eq. 6: cross entropy of GAP(f2(F) M_f), with M_f averaged over the cells of f2(F); mean over images."""
    pooled = F.adaptive_avg_pool2d(foreground, (scores.shape[2], scores.shape[3]))
    return F.cross_entropy(logits(scores * pooled), labels)


def multi_label(z: Tensor, tags: Tensor) -> Tensor:
    """L_mcls, Eq. 9: each positive class of an image against all its negative classes, summed; mean over images.

    Args:
        z: logits [B, C].
        tags: bool [B, C], the classes of each image.
    """
    negatives = z.masked_fill(tags, torch.finfo(z.dtype).min).logsumexp(dim=1, keepdim=True)
    # -log(e^z_c / (e^z_c + sum_n e^z_n)) = log(1 + e^(log sum_n e^z_n - z_c))
    return (F.softplus(negatives - z) * tags).sum(dim=1).mean()


def localization_losses(
    scores: Tensor,
    foreground: Tensor,
    erased: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    saturated: float = 1.0,
) -> dict[str, Tensor]:
    """The four weighted terms of L = L_cls + alpha L_frg + L_bas + beta L_ac; scalars. L_frg trains all layers."""
    return {
        "cls": F.cross_entropy(logits(scores), labels),
        "frg": alpha * foreground_guidance(scores, foreground, labels),
        "bas": background_activation(scores, erased, labels, saturated=saturated).mean(),
        "ac": beta * area(foreground).mean(),
    }


def seed_losses(
    scores: Tensor,
    foreground: Tensor,
    erased: Tensor,
    labels: Tensor,
    tags: Tensor,
    *,
    alpha: float = 0.2,
    beta: float = 1.2,
) -> dict[str, Tensor]:
    """The four weighted terms of L = L_mcls + alpha L_frg + L_bas + beta L_ac; scalars.

    Weights and gradients are those of `WSSS/train_bas.py` in the extension's released code: L_frg takes f2(F) as a
    constant, so that the classifier learns from L_mcls only.

    Args:
        labels: int64 [B], one class of each image (`draw_class`), to which foreground and erased scores belong.
        tags: bool [B, C], all classes of each image.
    """
    return {
        "mcls": multi_label(logits(scores), tags),
        "frg": alpha * foreground_guidance(scores.detach(), foreground, labels),
        "bas": background_activation(scores, erased, labels).mean(),
        "ac": beta * area(foreground).mean(),
    }


def draw_class(tags: Tensor) -> Tensor:
    """One random class per image, uniformly over its classes: bool [B, C] to int64 [B]. It draws from torch's global
    generator."""
    return torch.multinomial(tags.float(), 1)[:, 0]


def selected_map(maps: Tensor, z: Tensor, labels: Tensor, k: int) -> Tensor:
    """The map from which a box is made: for k = 1 that of the true class, else the mean over the k likeliest classes.

    Args:
        maps: M [B, C, h, w].
        z: logits [B, C].
        labels: true classes int64 [B], which the released code (`WSOL/evaluator.py`) also uses for Top-1.

    Returns:
        [B, h, w].
    """
    chosen = labels[:, None] if k == 1 else z.topk(k, dim=1).indices
    return maps.take_along_dim(chosen[:, :, None, None], dim=1).mean(dim=1)


def fused(cam: Tensor, bas: Tensor) -> Tensor:
    """Seeds, as in the released code: the sum of the classifier's maps and those of BAS.

    Args:
        cam, bas: [k, h, w] of the same classes, each plane already divided by its own maximum + 1e-5.

    Returns:
        [k, h, w] in 0..1, each plane again divided by its own maximum + 1e-5.
    """
    total = cam + bas
    return total / (total.amax((1, 2), keepdim=True) + 1e-5)
