"""Inception v3 with BAS's strides (`WSOL/Model/inception.py` of wpy1999/BAS-Extension)."""

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.inception import InceptionB, InceptionD


def inception_v3() -> nn.Module:
    """Inception v3 (Szegedy et al., 2016) without a classifier, with random weights.

    Strides and padding of 1a, 6a, 7a and the two max pools are those of BAS's authors, so that the map behind Mixed_6e
    has 28x28 cells for an image of 224 pixels.
    """
    network: Any = torchvision.models.inception_v3(aux_logits=False, transform_input=False, init_weights=False)
    network.fc = nn.Identity()
    network.Mixed_6a, network.Mixed_7a = _Mixed6a(288), _Mixed7a(768)
    network.Conv2d_1a_3x3.conv.padding = (1, 1)
    for pool in (network.maxpool1, network.maxpool2):
        pool.padding, pool.ceil_mode = 1, True
    return network


class _Mixed6a(InceptionB):
    """All three branches with stride 1 and padding 1."""

    def __init__(self, inputs: int):
        super().__init__(inputs)
        for layer in (self.branch3x3, self.branch3x3dbl_3):
            layer.conv.stride = layer.conv.padding = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=1, padding=1)], dim=1)


class _Mixed7a(InceptionD):
    """All three branches with padding 1."""

    def __init__(self, inputs: int):
        super().__init__(inputs)
        for layer in (self.branch3x3_2, self.branch7x7x3_4):
            layer.conv.padding = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        plain = self.branch3x3_2(self.branch3x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([plain, long, F.max_pool2d(x, 3, stride=2, padding=1)], dim=1)
