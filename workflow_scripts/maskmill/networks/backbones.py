"""Backbones as five stages, so that CAM, IRNet and DeepLab heads can take the maps they need."""

import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from maskmill.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Caffe's networks take 0..255 minus a mean; ours take 0..1, so its standard deviation is 1/255.
CAFFE_MEAN, CAFFE_STD = (122.675 / 255, 116.669 / 255, 104.008 / 255), (1 / 255, 1 / 255, 1 / 255)


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
        name: resnet50, resnet101, vgg16 (torchvision), resnet101_caffe (DeepLab's: stride on the first 1x1 convolution,
            pooling in ceil mode), vgg16_caffe, efficientnet_lite0 (timm's tf_efficientnet_lite0) or sample_cnn.
        output_stride: of the last stage: 8, 16 or 32.
        dilate: where a stride is removed to reach `output_stride`, dilate the convolutions behind it (DeepLab) or
            not (IRN). Only torchvision's ResNets leave the choice, the others dilate. VGG's output stride is 8.
        pretrained: safetensors file with the weights, or None for random ones.

    Raises:
        InputError: unknown name, or weights of another network.
    """
    builders = {
        "resnet50": _resnet,
        "resnet101": _resnet,
        "resnet101_caffe": _resnet_caffe,
        "vgg16": _vgg16,
        "vgg16_caffe": _vgg16,
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
    tensors = load_file(path)
    own = network.state_dict()
    # Not every publisher counts batches, and Caffe's have no classifier of torchvision's; neither is used.
    unused = {name: value for name, value in own.items() if name.endswith("num_batches_tracked") or name[:3] == "fc."}
    try:
        network.load_state_dict({**unused, **tensors})
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


def _resnet_caffe(
    name: str, output_stride: int, dilate: bool, pretrained: str | None, blocks: tuple[int, ...] = (3, 4, 23, 3)
) -> Backbone:
    network = torchvision.models.ResNet(Bottleneck, list(blocks), zero_init_residual=True)
    _load(network, pretrained)
    network.maxpool.ceil_mode = True
    layers = [network.layer1, network.layer2, network.layer3, network.layer4]
    strides, dilations = {
        8: ((1, 2, 1, 1), (1, 1, 2, 4)),
        16: ((1, 2, 2, 1), (1, 1, 1, 2)),
        32: ((1, 2, 2, 2), (1, 1, 1, 1)),
    }[output_stride]
    for layer, stride, dilation in zip(layers, strides, dilations, strict=True):
        for block in layer:
            block.conv2.stride = (1, 1)
            block.conv2.dilation = block.conv2.padding = (dilation, dilation)
        layer[0].conv1.stride = layer[0].downsample[0].stride = (stride, stride)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    total = [4, 4, 8, min(16, output_stride), min(32, output_stride)]
    return Backbone([stem, *layers], [64, 256, 512, 1024, 2048], total, CAFFE_MEAN, CAFFE_STD)


def _vgg16(name: str, output_stride: int, dilate: bool, pretrained: str | None) -> Backbone:
    if output_stride != 8:
        raise InputError(f"config: output_stride {output_stride} of {name}; it has 8")
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    _load(features, pretrained)
    for convolution in features[24:30:2]:  # conv5_1 to conv5_3, behind the stride that pool4 gave up
        convolution.dilation = convolution.padding = (2, 2)
    stages, start = [], 0
    for end, stride in zip((4, 9, 16, 23, 30), (2, 2, 2, 1, 1), strict=True):
        stages.append(nn.Sequential(*features[start:end], nn.MaxPool2d(3, stride, padding=1, ceil_mode=True)))
        start = end + 1
    mean, std = (CAFFE_MEAN, CAFFE_STD) if name == "vgg16_caffe" else (IMAGENET_MEAN, IMAGENET_STD)
    return Backbone(stages, [64, 128, 256, 512, 512], [2, 4, 8, 8, 8], mean, std)


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
