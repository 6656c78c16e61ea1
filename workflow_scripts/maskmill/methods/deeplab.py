"""DeepLab v2: atrous convolution, atrous spatial pyramid pooling, and a fully connected CRF.

L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy, A. Yuille: "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", TPAMI 2017. The network is
`networks/deeplab_v2.py`, the CRF `refinement/dense_crf.py`, the search for its setting `methods/crf_search.py`; here is
how the network is trained.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.training.losses import cross_entropy


def deep_supervision(maps: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Sum of the cross entropies of all score maps, each a mean over the pixels that are not 255.

    Labels are shrunk to each map's size by nearest neighbour (pixel centres), which keeps the grids aligned.

    Args:
        maps: float [B, C, h_i, w_i].
        labels: int64 [B, H, W].
    """
    labels = labels[:, None].float()
    shrunk = (F.interpolate(labels, scores.shape[-2:], mode="nearest-exact")[:, 0].long() for scores in maps)
    return sum(map(cross_entropy, maps, shrunk))


def parameter_groups(
    network: nn.Module, score_layers: Sequence[nn.Module], *, lr: float, weight_decay: float, multipliers: dict
) -> list[dict]:
    """The official multipliers of learning rate and weight decay.

    Weights learn at `lr`; biases at `multipliers["bias"]` (2) times that, without decay; both of the score layers at
    `multipliers["scores"]` (10) times that again. Norms learn at `lr` without decay, and not at all where they are
    frozen (`network.frozen_batchnorm`), as the paper does it.
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
