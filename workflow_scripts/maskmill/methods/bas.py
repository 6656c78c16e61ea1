"""BAS: background activation suppression (Wu et al., CVPR 2022; Zhai et al., IJCV 2024; spec 4.1, 4.4, 4.6).

A classifier needs only a part of an object; its activation S of the true class does not say how much of the object a
map covers. BAS erases what a map M_f covers and asks for the activation S_b of what is left: a map that covers the
whole object leaves nothing (L_bas), one that covers more than the object has a larger area (L_ac).

Symbols: scores f2(F) [B, C, h', w'], foreground M_f [B, 1, h, w] in 0..1, erased scores f2~(F M_b) [B, C, h', w'];
labels y int64 [B] in 0..C-1. The equations' numbers are those of the extension.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# What L_bas becomes where the background is more active than the image: 1, but 0 for VGG in the extension and for every
# network in the CVPR release (spec 4.1). It has no gradient, so the switch only moves the printed loss.
SATURATED = {"vgg16": 0.0}


def logits(scores: Tensor) -> Tensor:
    """GAP of score maps: [B, C]."""
    return scores.mean(dim=(2, 3))


def activation(scores: Tensor, labels: Tensor) -> Tensor:
    """S (of f2(F)) or S_b (of f2~(F M_b)): the mean score of each image's class, [B]."""
    return logits(scores).gather(1, labels[:, None])[:, 0]


def background_activation(scores: Tensor, erased: Tensor, labels: Tensor, *, saturated: float = 1.0) -> Tensor:
    """L_bas, Eq. 3, of each image: ReLU(S_b) / (ReLU(S) + 1e-8), [B] in 0..1.

    S is a constant in it. Where S_b > S the value is the constant `saturated` and has no gradient; with the ratio in
    its place training collapses (spec 0, point 7).
    """
    whole = activation(scores, labels).detach().relu()
    background = activation(erased, labels).relu()
    ratio = background / (whole + 1e-8)
    return torch.where(background > whole, saturated, ratio)


def area(foreground: Tensor) -> Tensor:
    """L_ac, Eq. 4, of each image: the mean of M_f, [B]."""
    return foreground.mean(dim=(1, 2, 3))


def foreground_guidance(scores: Tensor, foreground: Tensor, labels: Tensor) -> Tensor:
    """L_frg, Eq. 6: cross entropy of GAP(f2(F) M_f), with M_f averaged on the cells of f2(F); mean over images."""
    pooled = F.adaptive_avg_pool2d(foreground, scores.shape[2:])
    return F.cross_entropy(logits(scores * pooled), labels)


def multi_label(z: Tensor, tags: Tensor) -> Tensor:
    """L_mcls, Eq. 9: every positive class of an image against all its negative ones, summed; mean over images.

    Args:
        z: logits [B, C]; tags: bool [B, C], which classes an image has.
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
    """L = L_cls + alpha L_frg + L_bas + beta L_ac: its four weighted terms. L_frg reaches all layers."""
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
    drawn: Tensor,
    tags: Tensor,
    *,
    alpha: float = 0.2,
    beta: float = 1.2,
) -> dict[str, Tensor]:
    """L = L_mcls + alpha L_frg + L_bas + beta L_ac (spec 4.6): its four weighted terms.

    Here L_frg sees f2(F) as a constant, so that the classifier learns from L_mcls alone.

    Args:
        drawn: int64 [B], one of each image's classes (`draw_class`); foreground and erased are of it.
        tags: bool [B, C].
    """
    return {
        "mcls": multi_label(logits(scores), tags),
        "frg": alpha * foreground_guidance(scores.detach(), foreground, drawn),
        "bas": background_activation(scores, erased, drawn).mean(),
        "ac": beta * area(foreground).mean(),
    }


def draw_class(tags: Tensor) -> Tensor:
    """One class of each image, uniformly, from torch's global generator: bool [B, C] to int64 [B]."""
    return torch.multinomial(tags.float(), 1)[:, 0]


def selected_map(maps: Tensor, z: Tensor, labels: Tensor, k: int) -> Tensor:
    """The map that is made a box (spec 4.4): for k = 1 that of the given class, else the mean of the k likeliest.

    Args:
        maps: M [B, C, h, w]; z: logits [B, C]; labels: the true classes, also for Top-1, as in the released code.

    Returns:
        [B, h, w].
    """
    chosen = labels[:, None] if k == 1 else z.topk(k, dim=1).indices
    return maps.take_along_dim(chosen[:, :, None, None], dim=1).mean(dim=1)


def fused(cam: Tensor, bas: Tensor) -> Tensor:
    """Seeds (spec 4.6): the maps of the classifier and those of BAS, added.

    Args:
        cam, bas: [k, h, w] of the same classes, each plane already divided by its own maximum + 1e-5.

    Returns:
        [k, h, w], each plane divided by its own maximum + 1e-5 again: 0..1.
    """
    total = cam + bas
    return total / (total.amax((1, 2), keepdim=True) + 1e-5)
