"""DeepLab v2: atrous convolution, atrous spatial pyramid pooling, and a fully connected CRF.

L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy, A. Yuille: "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", TPAMI 2017. This module has the loss and the learning
rates of the training. The network is in `networks/deeplab_v2.py`, the CRF in `refinement/dense_crf.py`, the search for
its settings in `methods/crf_search.py`.
"""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.training.losses import cross_entropy


def deep_supervision(maps: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum of the cross entropies of all score maps, each a mean over the pixels that are not 255. A scalar.

    Nearest neighbours (of pixel centres) reduce the labels to each map's size, which keeps the grids aligned.

    Args:
        maps: float [B, C, h_i, w_i].
        labels: int64 [B, H, W].
    """
    labels = labels[:, None].float()
    reduced = (F.interpolate(labels, scores.shape[-2:], mode="nearest-exact")[:, 0].long() for scores in maps)
    return cast(Tensor, sum(map(cross_entropy, maps, reduced)))


def parameter_groups(
    network: Any, score_layers: Sequence[nn.Module], *, lr: float, weight_decay: float, multipliers: dict[str, float]
) -> list[dict]:
    """Optimiser groups with the learning rates and weight decay of the official Caffe configuration.

    Weights learn at `lr`, biases at `multipliers["bias"]` (2) times `lr` and without decay. Weights and biases of the
    score layers learn at `multipliers["scores"]` (10) times these rates. Norms learn at `lr` without decay, or not at
    all if the network freezes them, as in the paper.

    Args:
        network: a `DeepLabV2`.
        score_layers: see `DeepLabV2.score_layers`.
    """
    fast = {id(p) for layer in score_layers for p in layer.parameters()}
    norms = {id(p) for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        is_norm = id(parameter) in norms
        if is_norm and network.frozen_batchnorm:
            continue
        is_bias = name.endswith("bias") and not is_norm
        factor = (multipliers["bias"] if is_bias else 1) * (multipliers["scores"] if id(parameter) in fast else 1)
        groups.setdefault((factor, 0.0 if is_bias or is_norm else weight_decay), []).append(parameter)
    return [{"params": p, "lr": lr * factor, "weight_decay": decay} for (factor, decay), p in groups.items()]
