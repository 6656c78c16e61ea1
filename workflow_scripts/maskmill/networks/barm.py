"""BARM's network: DeepLab v3 whose heads come step by step, each with a residual of the background (spec BARM 1.3).

Symbols: f ASPP's map; g_i ear features of group i; z_i its scores, channel 0 the background's: b_0 of group 0, the
residual r_i of a later one. Group i scores the classes that step i brought.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.networks.backbones import build_backbone, freeze_batchnorm
from maskmill.networks.deeplab import ASPP
from maskmill.networks.norms import NormOfOneValue
from maskmill.storage.checkpoints import load_network


class Output(NamedTuple):
    """All at output stride: `logits` y [B, 1 + classes of all steps, h, w]; of each group `scores` z_i
    [B, 1 + its classes, h, w] and `features` g_i [B, width, h, w]."""

    logits: Tensor
    scores: list[Tensor]
    features: list[Tensor]


class BARM(nn.Module):
    """Backbone, ASPP and, for each step, an ear (3x3 convolution) with a 1x1 convolution to its scores.

    Args:
        backbone: see `build_backbone`; the paper's is resnet101.
        steps: class ids of each step, background not among them.
        rates: dilation of the 3x3 branches of ASPP, for features at `output_stride`.
        width: channels of ASPP and ears.
        dropout: behind ASPP.
        backbone_momentum: of the backbone's batch norms; the heads' is torch's 0.1.
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        steps: Sequence[Sequence[int]],
        *,
        output_stride: int = 16,
        rates: tuple[int, ...] = (6, 12, 18),
        width: int = 256,
        dropout: float = 0.1,
        backbone_momentum: float = 0.01,
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = {
            "backbone": backbone,
            "steps": [list(classes) for classes in steps],
            "output_stride": output_stride,
            "rates": list(rates),
            "width": width,
            "dropout": dropout,
            "backbone_momentum": backbone_momentum,
        }
        self.backbone = build_backbone(backbone, output_stride=output_stride, dilate=True, pretrained=pretrained)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = backbone_momentum
        self.aspp = ASPP(self.backbone.channels[-1], width, rates, dropout=nn.Dropout(dropout))
        self.aspp.pooling[2] = NormOfOneValue(width)  # the paper's is a batch norm
        self.ears = nn.ModuleList(_ear(width) for _ in steps)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1 + len(classes), 1) for classes in steps)
        for part in (self.aspp, self.ears, self.heads):
            part.apply(_initialise)

    def forward(self, x: Tensor) -> Output:
        """x: normalised images [B, 3, H, W]."""
        context = self.aspp(self.backbone(x)[-1])
        features = [ear(context) for ear in self.ears]
        scores = [head(g) for head, g in zip(self.heads, features, strict=True)]
        return Output(aggregate(scores, learning=self.training), scores, features)


def aggregate(scores: list[Tensor], *, learning: bool) -> Tensor:
    """y = [y_bg, z_0[1:], z_1[1:], ...] of the scores z_0..z_t.

    Inference: y_bg = b_0 + sum over i = 1..t of min(r_i, 0). Learning step t: the last residual is not clamped and is
    the only term with a gradient. A single group is its own result.
    """
    if len(scores) == 1:
        return scores[0]
    base, *residuals = [z[:, :1] for z in scores]
    if learning:
        known = base + sum(r.clamp(max=0) for r in residuals[:-1])
        background = known.detach() + residuals[-1]
    else:
        background = base + sum(r.clamp(max=0) for r in residuals)
    return torch.cat([background, *(z[:, 1:] for z in scores)], dim=1)


def next_step(previous: BARM, classes: Sequence[int], *, copy_statistics: bool = False) -> BARM:
    """The network of the next step, which starts as the previous one with a new group; its batch norms are frozen.

    The new ear starts as group 0's, the new scores at random (spec 1.4).

    Args:
        classes: ids that the step brings.
        copy_statistics: whether the new ear's norm has group 0's running statistics too. The released code leaves 0 and
            1, so that this ear does not normalise: its norm is frozen.
    """
    arguments = previous.arguments | {"steps": [*previous.arguments["steps"], list(classes)]}
    network = BARM(**arguments)
    network.load_state_dict(previous.state_dict(), strict=False)
    first, new = network.ears[0], network.ears[-1]
    new.load_state_dict(first.state_dict())
    if not copy_statistics:
        new[1].reset_running_stats()
    freeze_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return network


def freeze_known(network: BARM) -> None:
    """Let nothing learn but the last group, so that all that earlier steps learned stays as it is."""
    for module in (network.backbone, network.aspp, network.ears[:-1], network.heads[:-1]):
        module.requires_grad_(False)


def load_previous(path: str | Path, steps: Sequence[Sequence[int]]) -> BARM:
    """The network of the step before the last of `steps`, in evaluation mode.

    Raises:
        InputError: the file is missing, broken, holds another network, or one that learned other classes or these in
            another order.
    """
    network, expected = load_network(path, BARM), [list(classes) for classes in steps[:-1]]
    learned = network.arguments["steps"]
    if learned != expected:
        raise InputError(f"{path}: learned the classes {learned}, not {expected}; delete it and run again")
    return network


def parameter_groups(network: BARM, *, lr_new: float, lr_aspp: float, lr_old: float, weight_decay: float) -> list[dict]:
    """Optimiser groups of a later step (spec 1.5): the new ear and head, ASPP, and all the rest; frozen parameters and
    groups without any are left out. For the first step see `backbone_and_new`."""
    new = [*network.ears[-1].parameters(), *network.heads[-1].parameters()]
    aspp = list(network.aspp.parameters())
    taken = {id(p) for p in (*new, *aspp)}
    old = [p for p in network.parameters() if id(p) not in taken]
    groups = []
    for parameters, lr in ((new, lr_new), (aspp, lr_aspp), (old, lr_old)):
        learned = [p for p in parameters if p.requires_grad]
        if learned:
            groups.append({"params": learned, "lr": lr, "weight_decay": weight_decay})
    return groups


def _ear(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
