"""Segmentation networks behind one interface, for stages that serve several methods."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.data.transforms import network_input, scaled
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.networks.p2at import P2AT, PlainDecoder
from maskmill.storage.checkpoints import load_one_of

NETWORKS = {network.__name__: network for network in (DeepLabV3Plus, DeepLabV3PlusMGD, P2AT, PlainDecoder)}


def load_segmentation(path: str | Path) -> nn.Module:
    """The segmentation network of a checkpoint, in evaluation mode.

    Raises:
        InputError: the file is missing, is broken, or holds a network that is none of `NETWORKS`.
    """
    return load_one_of(path, NETWORKS.values())


def logits_of(network: nn.Module, pixels: Tensor) -> Tensor:
    """Logits [B, C, H, W] of a network that may also return features."""
    output = network(pixels)
    return output[0] if isinstance(output, tuple) else output


def class_probabilities(
    network: Any, image: np.ndarray, scales: list[float], flip: bool, device: torch.device
) -> Tensor:
    """Softmax probabilities of an image, averaged over scales and, with `flip`, over the image and its mirror image.

    Args:
        network: one of `NETWORKS`, on `device`.
        image: uint8 [H, W, 3].
        scales: factors of the image's sides.

    Returns:
        float32 [C, H, W] on `device`.
    """
    size = (image.shape[0], image.shape[1])
    total: Any = 0
    mean, std = network.backbone.mean, network.backbone.std
    for scale in scales:
        pixels = network_input(image, mean, std, scaled(size, scale)).to(device)
        views = [logits_of(network, pixels)]
        if flip:
            views.append(logits_of(network, pixels.flip(-1)).flip(-1))
        total = total + sum(F.interpolate(view, size, mode="bilinear").softmax(dim=1) for view in views)
    return (total / total.sum(dim=1, keepdim=True))[0]
