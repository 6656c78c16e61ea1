"""MGD's DeepLabV3+ (Qin et al., ECCV 2022).

Its head differs from the usual one: a single norm follows the concatenated branches of the atrous pyramid, and image
pooling is added, not concatenated. Layers are those of the released code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone, freeze_batchnorm
from maskmill.networks.norms import NormOfOneValue


class DeepLabV3PlusMGD(nn.Module):
    """Backbone, atrous pyramid on its last map, decoder on its last map at stride 4.

    Args:
        backbone: see `build_backbone`; MGD's are resnet18_deep, mobilenet_v2, wide_resnet50_2 and resnet101_deep.
        num_classes: with background.
        output_stride: of the backbone; 32 for MGD's mobilenet_v2.
        rates: dilation of the 3x3 branches.
        width: channels of branches, pyramid and decoder.
        low_level_width: channels to which the map at stride 4 is reduced; 24 for MGD's mobilenet_v2.
        frozen_stages: how many of the backbone's five stages do not learn (MGD trains all). The statistics of their
            batch norms still move, unless `frozen_batchnorm` is set.
        frozen_batchnorm: keep the backbone's batch norms at their stored statistics (for small batches; MGD does not).
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        output_stride: int = 16,
        rates: tuple[int, ...] = (6, 12, 18),
        width: int = 256,
        low_level_width: int = 48,
        frozen_stages: int = 0,
        frozen_batchnorm: bool = False,
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.backbone = build_backbone(backbone, output_stride=output_stride, dilate=True, pretrained=pretrained)
        self.backbone.freeze(frozen_stages)
        if frozen_batchnorm:
            freeze_batchnorm(self.backbone)
        self._low_level = max(i for i, stride in enumerate(self.backbone.strides) if stride == 4)
        self.pyramid = Pyramid(self.backbone.channels[-1], width, rates)
        self.low_level = _convolution(self.backbone.channels[self._low_level], low_level_width, 1)
        self.decoder = nn.Sequential(
            *_convolution(width + low_level_width, width, 3),
            *_convolution(width, width, 3),
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)
        for module in (self.pyramid, self.low_level, self.decoder, self.classifier):
            module.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: normalised images [B, 3, H, W].

        Returns logits [B, num_classes, H, W] and the decoder's features before the classifier, [B, width, h, w] at
        stride 4.
        """
        maps = self.backbone(x)
        low_level = self.low_level(maps[self._low_level])
        context = _resize(self.pyramid(maps[-1]), low_level.shape[-2:])
        features = self.decoder(torch.cat([context, low_level], dim=1))
        return _resize(self.classifier(features), x.shape[-2:]), features


class TwoBranches(nn.Module):
    """Two networks of one architecture for cross pseudo supervision: they start from the same pretrained backbone and
    from different random heads. A forward pass runs one branch, so that wrappers of a module see every pass.

    Args:
        backbone, num_classes, options: see `DeepLabV3PlusMGD`.
    """

    def __init__(self, backbone: str, num_classes: int, **options):
        super().__init__()
        self.branches = nn.ModuleList(DeepLabV3PlusMGD(backbone, num_classes, **options) for _ in range(2))
        self.arguments = self.branches[0].arguments

    def forward(self, x: Tensor, branch: int) -> tuple[Tensor, Tensor]:
        """Logits and features of branch 0 or 1; see `DeepLabV3PlusMGD`."""
        return self.branches[branch](x)


class Pyramid(nn.Module):
    """Parallel 1x1 and dilated 3x3 convolutions with one norm behind all of them, projected; a projection of the map's
    mean is added.

    Args:
        inputs: channels of the input.
        width: channels of each branch and of the output.
        rates: dilation of the 3x3 branches.
    """

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...]):
        super().__init__()
        self.branches = nn.ModuleList([nn.Conv2d(inputs, width, 1, bias=False)])
        self.branches.extend(nn.Conv2d(inputs, width, 3, padding=rate, dilation=rate, bias=False) for rate in rates)
        channels = width * len(self.branches)
        self.project = nn.Sequential(
            nn.BatchNorm2d(channels), nn.LeakyReLU(0.01), nn.Conv2d(channels, width, 1, bias=False)
        )
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(inputs, width, 1, bias=False),
            NormOfOneValue(width),
            nn.LeakyReLU(0.01),
            nn.Conv2d(width, width, 1, bias=False),
        )
        self.norm = nn.Sequential(nn.BatchNorm2d(width), nn.LeakyReLU(0.01))

    def forward(self, x: Tensor) -> Tensor:
        local = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        return self.norm(local + self.pooling(x))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
