"""DeepLabV3+ (Chen et al., ECCV 2018): atrous spatial pyramid pooling and a decoder on a low-level map."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone, freeze_batchnorm


class DeepLabV3Plus(nn.Module):
    """Backbone, ASPP on its last map, decoder on the first map at stride 4.

    Defaults are those of MARS's student (ResNet-101, output stride 8). The paper does not give them, so they are those
    of the first author's later released code (`train.py` of shjo-april/DHR).

    Args:
        backbone: see `build_backbone`.
        num_classes: with background.
        output_stride, dilate: of the backbone; MARS's first author has `all_but_first`.
        rates: dilation of the 3x3 branches of ASPP, for features at `output_stride`.
        width: channels of ASPP and decoder; the low-level map is reduced to `low_level_width`.
        frozen_batchnorm: keep the backbone's batch norms at their stored statistics (for small batches).
        dropout: rates behind ASPP, behind the decoder's first and behind its second convolution.
        drop_channels: whether ASPP's dropout drops whole channels (CW-BASS).
        align_corners: of all bilinear resizing (CW-BASS: true).
        classifier_bias: whether the last convolution has a bias (CW-BASS: true).
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        output_stride: int = 8,
        dilate: str = "torchvision",
        rates: tuple[int, ...] = (12, 24, 36),
        width: int = 256,
        low_level_width: int = 48,
        frozen_batchnorm: bool = False,
        dropout: tuple[float, float, float] = (0.5, 0.5, 0.1),
        drop_channels: bool = False,
        align_corners: bool = False,
        classifier_bias: bool = False,
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.align_corners = align_corners
        self.backbone = build_backbone(backbone, output_stride=output_stride, dilate=dilate, pretrained=pretrained)
        if frozen_batchnorm:
            freeze_batchnorm(self.backbone)
        self._low_level = max(i for i, stride in enumerate(self.backbone.strides) if stride == 4)
        self.aspp = ASPP(
            self.backbone.channels[-1],
            width,
            rates,
            dropout=(nn.Dropout2d if drop_channels else nn.Dropout)(dropout[0]),
        )
        self.low_level = _convolution(self.backbone.channels[self._low_level], low_level_width, 1)
        self.decoder = nn.Sequential(
            _convolution(width + low_level_width, width, 3),
            nn.Dropout(dropout[1]),
            _convolution(width, width, 3),
            nn.Dropout(dropout[2]),
        )
        self.classifier = nn.Conv2d(width, num_classes, 1, bias=classifier_bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: normalised images [B, 3, H, W]. Returns logits [B, num_classes, H, W] (bilinear from stride 4)."""
        maps = self.backbone(x)
        low_level = self.low_level(maps[self._low_level])
        context = self._resize(self.aspp(maps[-1]), low_level.shape[-2:])
        logits = self.classifier(self.decoder(torch.cat([context, low_level], dim=1)))
        return self._resize(logits, x.shape[-2:])

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(x, size=list(size), mode="bilinear", align_corners=self.align_corners)

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that no pretraining covers: everything but the backbone."""
        return [p for name, p in self.named_parameters() if not name.startswith("backbone.")]


class ASPP(nn.Module):
    """Parallel 1x1, dilated 3x3 and image-pooling branches, concatenated and projected.

    Args:
        inputs: channels of the input.
        width: channels of each branch and of the output.
        rates: dilation of the 3x3 branches.
        dropout: layer behind the projection.
    """

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...], dropout: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList([_convolution(inputs, width, 1)])
        self.branches.extend(_convolution(inputs, width, 3, rate) for rate in rates)
        # Image pooling gives one value per channel, so a batch of one has no batch statistics: group norm instead.
        self.pooling = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, width, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU()
        )
        self.project = nn.Sequential(_convolution(width * (len(rates) + 2), width, 1), dropout)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pooling(x).expand(-1, -1, *x.shape[-2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))


def _convolution(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
