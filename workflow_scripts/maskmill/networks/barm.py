"""BARM's network: DeepLab v3 that gets a new head at each step, with a residual of the background.

"Background Adaptation with Residual Modeling for Exemplar-Free Class-Incremental Semantic Segmentation", ECCV 2024. The
graph is that of `network/_deeplab.py` in ANDYZAQ/BARM.

Symbols: f is ASPP's map, g_i are the ear features of group i and z_i its scores. Channel 0 of z_i is the background:
b_0 in group 0, the residual r_i in a later group. Group i scores the classes of step i.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone, freeze_batchnorm
from maskmill.networks.deeplab import ASPP
from maskmill.networks.norms import NormOfOneValue
from maskmill.storage.checkpoints import load_network


class Output(NamedTuple):
    """Maps at the output stride.

    Attributes:
        logits: y, [B, 1 + classes of all steps, h, w].
        scores: z_i of each group, [B, 1 + its classes, h, w].
        features: g_i of each group, [B, width, h, w].
    """

    logits: Tensor
    scores: list[Tensor]
    features: list[Tensor]


class BARM(nn.Module):
    """Backbone, ASPP and, for each step, an ear (3x3 convolution) with a 1x1 convolution to its scores.

    Args:
        backbone: see `build_backbone`; the paper's is resnet101.
        steps: class ids of each step, without the background.
        output_stride: of the backbone.
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
        self.arguments = constructor_arguments(locals())
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

    At inference y_bg = b_0 + sum over i = 1..t of min(r_i, 0). While step t learns, the last residual is not clamped
    and is the only term with a gradient. The scores of a single group are the result.

    Args:
        scores: of each group, [B, 1 + its classes, h, w].
        learning: whether the last step learns.

    Returns:
        [B, 1 + classes of all steps, h, w].
    """
    if len(scores) == 1:
        return scores[0]
    base, *residuals = [z[:, :1] for z in scores]
    if learning:
        earlier = base + sum(r.clamp(max=0) for r in residuals[:-1])
        background = earlier.detach() + residuals[-1]
    else:
        background = base + sum(r.clamp(max=0) for r in residuals)
    return torch.cat([background, *(z[:, 1:] for z in scores)], dim=1)


def next_step(previous: BARM, classes: Sequence[int], *, copy_statistics: bool = False) -> BARM:
    """The network of the next step: the previous one with a new group and frozen batch norms.

    As in the released code, the new ear starts with the weights of group 0's ear, and the new scores start at random.

    Args:
        classes: ids that the step adds.
        copy_statistics: whether the new ear's norm also starts with group 0's running statistics. The released code
            leaves them at 0 and 1, so that this ear never normalises, because its norm is frozen.
    """
    arguments = previous.arguments | {"steps": [*previous.arguments["steps"], list(classes)]}
    network = BARM(**arguments)
    network.load_state_dict(previous.state_dict(), strict=False)
    first, new = network.ears[0], network.ears[-1]
    new.load_state_dict(first.state_dict())
    if not copy_statistics:
        for norm in new.children():
            if isinstance(norm, nn.BatchNorm2d):
                norm.reset_running_stats()
    freeze_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return network


def freeze_known(network: BARM) -> None:
    """Freeze everything but the last group, so that all that earlier steps learned stays as it is."""
    for module in (network.backbone, network.aspp, network.ears[:-1], network.heads[:-1]):
        module.requires_grad_(False)


def load_previous(path: str | Path, steps: Sequence[Sequence[int]]) -> BARM:
    """The network of the step before the last of `steps`, in evaluation mode.

    Raises:
        InputError: the file is missing, is broken, holds another network, or holds a BARM that learned other classes
            or the same classes in another order.
    """
    network, expected = cast(BARM, load_network(path, BARM)), [list(classes) for classes in steps[:-1]]
    learned = network.arguments["steps"]
    if learned != expected:
        raise InputError(f"{path}: learned the classes {learned}, not {expected}; delete it and run again")
    return network


def parameter_groups(network: BARM, *, lr_new: float, lr_aspp: float, lr_old: float, weight_decay: float) -> list[dict]:
    """Optimiser groups of a later step, as in the released code: the new ear and head, ASPP, and all the rest.

    Frozen parameters are left out, and so is a group that has no other ones. `training.optimizers.backbone_and_new`
    gives the groups of the first step.

    Args:
        lr_new, lr_aspp, lr_old: learning rates of the three groups.
    """
    new = [*network.ears[-1].parameters(), *network.heads[-1].parameters()]
    aspp = list(network.aspp.parameters())
    assigned = {id(p) for p in (*new, *aspp)}
    old = [p for p in network.parameters() if id(p) not in assigned]
    groups = []
    for parameters, lr in ((new, lr_new), (aspp, lr_aspp), (old, lr_old)):
        trainable = [p for p in parameters if p.requires_grad]
        if trainable:
            groups.append({"params": trainable, "lr": lr, "weight_decay": weight_decay})
    return groups


def _ear(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
