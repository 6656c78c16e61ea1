"""GroupViT's losses, which compare images with captions and with the nouns in them, and a measure of its segments.

"GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. The losses are those of the released code
(`models/multi_label_contrastive.py` of NVlabs/GroupViT), except for the soft targets, which are ours.

Symbols (the paper's, then ours):
    x_i    images    unit vectors of images, [B, D]
    t_i    texts     unit vectors of their captions, [B, D]
    t_ik   prompts   unit vectors of K nouns of each caption, [B, K, D]
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
        keys: int64 [B], equal for captions with the same content, which share the target evenly: in small sets of
            captions such pairs would be false negatives. None: a caption belongs to its own image only (GroupViT).
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
    """Mean of two cross entropies, a scalar: from an image to its K prompts among all, with even targets, and from a
    prompt to its image."""
    images, prompts = gathered(images), gathered(prompts)
    count, k = prompts.shape[:2]
    logits = scale * images @ prompts.flatten(0, 1).T
    images_of_prompts = torch.arange(count, device=logits.device).repeat_interleave(k)
    to_prompts = F.cross_entropy(logits, F.one_hot(images_of_prompts, count).T / k)
    return (to_prompts + F.cross_entropy(logits.T, images_of_prompts)) / 2


def segments_used(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Number of segments per image that have a patch, and the entropy (nat) of the segments' sizes; means over images.

    Both are low if the segments collapse.

    Args:
        shares: of every patch in the segments, [B, L, G]; a patch belongs to the segment with its largest share.
    """
    sizes = F.one_hot(shares.argmax(dim=2), shares.shape[2]).float().mean(dim=1)
    return (sizes > 0).sum(dim=1).float().mean(), torch.special.entr(sizes).sum(dim=1).mean()


def gathered(values: Tensor) -> Tensor:
    """The values of all devices, in the order of the devices; each device gets the gradients of its own values."""
    if not torch.distributed.is_initialized():
        return values
    return torch.cat(all_gather(values))
