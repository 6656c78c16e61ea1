"""DeepLab v2 (Chen et al., TPAMI 2017): atrous spatial pyramid pooling sums the score maps of its branches, and the
maximum fuses the scores of several scales of the image."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone, freeze_batchnorm


class DeepLabV2(nn.Module):
    """Backbone, parallel atrous branches on its last map (one branch: LargeFOV; four: ASPP), their scores summed.

    Args:
        backbone: see `build_backbone`; the paper's are resnet101_caffe and vgg16.
        num_classes: with background.
        rates: dilation of each branch, in cells of the last map at output stride 8: 12 for LargeFOV; 2, 4, 8, 12 for
            ASPP-S; 6, 12, 18, 24 for ASPP-L.
        output_stride, dilate: of the backbone; Caffe's networks always have `all`.
        hidden: None for ResNet's branches, one 3x3 convolution to the scores each; a number of channels (1024) for
            VGG's branches fc6-fc7-fc8 with dropout.
        scales: further scales of the image that pass through the same weights; (0.5, 0.75) for MSC.
        frozen_batchnorm: keep batch norms at their stored statistics and values, as the paper does.
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        rates: tuple[int, ...],
        output_stride: int = 8,
        dilate: str = "torchvision",
        hidden: int | None = None,
        scales: tuple[float, ...] = (),
        frozen_batchnorm: bool = True,
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.scales, self.frozen_batchnorm = tuple(scales), frozen_batchnorm
        self.backbone = build_backbone(backbone, output_stride=output_stride, dilate=dilate, pretrained=pretrained)
        if frozen_batchnorm:
            freeze_batchnorm(self.backbone)
        self.branches = nn.ModuleList(_branch(self.backbone.channels[-1], num_classes, rate, hidden) for rate in rates)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: normalised images [B, 3, H, W].

        Returns score maps [B, num_classes, h, w] at the output stride. The last one is the result. With further scales
        it is their maximum, and the list begins with the maps that it fuses, for deep supervision: that of the full
        scale, then that of each further scale at its own size.
        """
        full = self.scores(x)
        if not self.scales:
            return [full]
        others = [self.scores(F.interpolate(x, scale_factor=s, mode="bilinear")) for s in self.scales]
        enlarged = [F.interpolate(scores, full.shape[-2:], mode="bilinear") for scores in others]
        return [full, *others, torch.stack([full, *enlarged]).amax(dim=0)]

    def scores(self, x: Tensor) -> Tensor:
        """Score map of one scale, [B, num_classes, h, w]."""
        features = self.backbone(x)[-1]
        return cast(Tensor, sum(branch(features) for branch in self.branches))

    def score_layers(self) -> list[nn.Module]:
        """The last layer of each branch, which learns faster than the rest."""
        return [list(branch.children())[-1] for branch in self.branches]


def _branch(inputs: int, num_classes: int, rate: int, hidden: int | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    if hidden is None:
        layers += [_atrous(inputs, num_classes, rate)]
    else:
        layers += [_atrous(inputs, hidden, rate), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        layers += [nn.Conv2d(hidden, hidden, 1), nn.ReLU(inplace=True), nn.Dropout(0.5)]
        layers += [nn.Conv2d(hidden, num_classes, 1)]
    nn.init.normal_(layers[-1].get_parameter("weight"), std=0.01)
    nn.init.zeros_(layers[-1].get_parameter("bias"))
    return nn.Sequential(*layers)


def _atrous(inputs: int, outputs: int, rate: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate)
