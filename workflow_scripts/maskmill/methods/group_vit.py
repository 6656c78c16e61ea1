"""GroupViT's losses, of images against captions and the nouns in them, and whether its segments differ.

"GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022; spec open_vocabulary 1.5, certain (read in
the released code) but for the soft targets.

Symbols (the paper's, then ours):
    x_i    images    unit vectors of images, [B, D]
    t_i    texts     unit vectors of their captions, [B, D]; t_ik `prompts`, of K nouns each, [B, K, D]
    s      scale     inverse temperature, a scalar
"""

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, keys: Tensor | None = None) -> Tensor:
    """L_con = 1/2 (CE_i(s x_i t_j) + CE_i(s t_i x_j)), a scalar, over the images of all devices.

    Args:
        keys: int64 [B], equal for captions that say the same: they share the target evenly, for small sets of captions
            are full of false negatives (9.2). None: a caption belongs to its own image alone (GroupViT).
    """
    images, texts = gathered(images), gathered(texts)
    logits = scale * images @ texts.T
    targets = torch.arange(len(logits), device=logits.device)
    if keys is not None:
        keys = gathered(keys)
        same = (keys[:, None] == keys).float()
        targets = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def multi_label_loss(images: Tensor, prompts: Tensor, scale: Tensor) -> Tensor:
    """An image is to find its K prompts among all, evenly; each prompt its image. The mean of both, a scalar."""
    images, prompts = gathered(images), gathered(prompts)
    count, k = prompts.shape[:2]
    logits = scale * images @ prompts.flatten(0, 1).T
    own = torch.arange(count, device=logits.device).repeat_interleave(k)
    of_images = F.cross_entropy(logits, F.one_hot(own, count).T / k)
    return (of_images + F.cross_entropy(logits.T, own)) / 2


def segments_used(shares: Tensor) -> tuple[Tensor, Tensor]:
    """How many of an image's segments have a patch, and the entropy (nat) of their sizes; means over the images (9.4).

    Args:
        shares: of every patch in the segments, [B, L, G]; a patch is of the one that has most of it.
    """
    sizes = F.one_hot(shares.argmax(dim=2), shares.shape[2]).float().mean(dim=1)
    return (sizes > 0).sum(dim=1).float().mean(), torch.special.entr(sizes).sum(dim=1).mean()


def gathered(values: Tensor) -> Tensor:
    """The values of all devices, in their order, with gradients for each device's own."""
    if not torch.distributed.is_initialized():
        return values
    return torch.cat(all_gather(values))
