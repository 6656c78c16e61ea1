"""Backbones as five stages, so that CAM, IRNet and DeepLab heads can take the maps they need."""

import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmill.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A stack of five stages.

    Attributes:
        channels, strides: of each stage's output, stem first.
        mean, std: RGB normalisation that the weights expect, for images in 0..1.
    """

    def __init__(self, stages: list[nn.Module], channels: list[int], strides: list[int], mean, std):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = channels, strides
        self.mean, self.std = mean, std
        self.frozen_stages = 0

    def freeze(self, stages: int) -> "Backbone":
        """Stop all learning in the first `stages` stages; their outputs carry no gradient."""
        self.frozen_stages = stages
        for stage in self.stages[:stages]:
            stage.requires_grad_(False)
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: normalised images [B, 3, H, W]. Returns five maps [B, channels[i], ceil(H/strides[i]), ...]."""
        maps = []
        for number, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen_stages):
                x = stage(x)
            maps.append(x)
        return maps


def build_backbone(
    name: str, *, output_stride: int = 16, dilate: bool = False, pretrained: str | None = None
) -> Backbone:
    """Build a backbone.

    Args:
        name: resnet50, resnet101 (torchvision), efficientnet_lite0 (timm's tf_efficientnet_lite0) or sample_cnn.
        output_stride: of the last stage: 8, 16 or 32.
        dilate: where a stride is removed to reach `output_stride`, dilate the convolutions behind it (DeepLab) or
            not (IRN). EfficientNet always dilates.
        pretrained: safetensors file with the weights, or None for random ones.

    Raises:
        InputError: unknown name, or weights of another network.
    """
    builders = {
        "resnet50": _resnet,
        "resnet101": _resnet,
        "efficientnet_lite0": _efficientnet_lite0,
        "sample_cnn": _sample_cnn,
    }
    if name not in builders:
        raise InputError(f"config: unknown backbone {name!r}; choose one of {', '.join(builders)}")
    if output_stride not in (8, 16, 32):
        raise InputError(f"config: output_stride {output_stride} of {name}; choose 8, 16 or 32")
    return builders[name](name, output_stride, dilate, pretrained)


def freeze_batchnorm(network: nn.Module) -> None:
    """Keep every batch norm at its running statistics, also in later calls of train(); affine parameters learn."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module


def _load(network: nn.Module, path: str | None) -> None:
    if path is None:
        return
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: weights do not fit {type(network).__name__} ({reason}); delete the file") from None


def _resnet(name: str, output_stride: int, dilate: bool, pretrained: str | None) -> Backbone:
    removed = [False, output_stride < 16, output_stride < 32]
    # Residual branches that start at zero: with random weights and frozen statistics, activations would overflow.
    network = getattr(torchvision.models, name)(replace_stride_with_dilation=removed, zero_init_residual=True)
    _load(network, pretrained)
    if not dilate:
        for layer in (network.layer3, network.layer4):
            for block in layer:
                block.conv2.dilation = block.conv2.padding = (1, 1)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    stages = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
    strides = [4, 4, 8, min(16, output_stride), min(32, output_stride)]
    return Backbone(stages, [64, 256, 512, 1024, 2048], strides, IMAGENET_MEAN, IMAGENET_STD)


def _efficientnet_lite0(name: str, output_stride: int, dilate: bool, pretrained: str | None) -> Backbone:
    network = timm.create_model("tf_efficientnet_lite0", output_stride=output_stride)
    _load(network, pretrained)
    blocks = network.blocks
    stages = [
        nn.Sequential(network.conv_stem, network.bn1, blocks[0]),
        blocks[1],
        blocks[2],
        nn.Sequential(blocks[3], blocks[4]),
        nn.Sequential(blocks[5], blocks[6]),
    ]
    strides = [2, 4, 8, min(16, output_stride), min(32, output_stride)]
    half = (0.5, 0.5, 0.5)
    return Backbone(stages, [16, 24, 40, 112, 320], strides, half, half)


def _sample_cnn(name: str, output_stride: int, dilate: bool, pretrained: str | None) -> Backbone:
    """A network small enough to learn the sample scenes from scratch on a CPU in a minute (0.2 M parameters)."""
    channels, strides = [24, 32, 64, 96, 128], [2, 4, 8, 8, 8]
    stages, width, stride = [], 3, 1
    for out, target in zip(channels, strides, strict=True):
        stages.append(_conv_block(width, out, target // stride))
        width, stride = out, target
    network = nn.Sequential(*stages)
    _load(network, pretrained)
    half = (0.5, 0.5, 0.5)
    return Backbone(list(network), channels, strides, half, half)


def _conv_block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
