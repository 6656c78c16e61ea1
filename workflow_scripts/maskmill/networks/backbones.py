"""Backbones as five stages, so that CAM, IRNet and DeepLab heads can take the maps they need.

Functions import timm and torchvision where they build a network of theirs, because these two packages together start as
slowly as torch itself.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.storage.access import check_readable

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Caffe's networks take 0..255 minus a mean. Ours take 0..1, so the standard deviation is 1/255.
CAFFE_MEAN, CAFFE_STD = (122.675 / 255, 116.669 / 255, 104.008 / 255), (1 / 255, 1 / 255, 1 / 255)
# Small networks for the sample scenes: channels of the stages, 3x3 convolutions per stage, depthwise-separable or not.
SAMPLE_CNNS = {
    "sample_cnn": ((24, 32, 64, 96, 128), 1, False),
    "sample_cnn_deep": ((24, 32, 48, 64, 96), 3, False),
    "sample_cnn_light": ((14, 18, 36, 56, 72), 1, False),
    "sample_cnn_slim": ((24, 32, 64, 96, 128), 1, True),
    "sample_cnn_slim_deep": ((24, 32, 64, 96, 128), 2, True),
    "sample_cnn_slim_wide": ((48, 64, 128, 192, 256), 1, True),
}


DILATE = ("torchvision", "all_but_first", "all")


class Backbone(nn.Module):
    """A stack of five stages.

    Attributes:
        channels, strides: of each stage's output, stem first.
        mean, std: RGB normalisation that the weights expect, for images in 0..1.
        frozen_stages: how many of the first stages do not learn.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: list[int],
        strides: list[int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ):
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
        """x: normalised images [B, 3, H, W]. Returns one map per stage, [B, channels[i], ceil(H/strides[i]), ...]."""
        maps = []
        for number, stage in enumerate(self.stages):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.frozen_stages):
                x = stage(x)
            maps.append(x)
        return maps


def build_backbone(
    name: str, *, output_stride: int = 16, dilate: bool | str = False, pretrained: str | None = None
) -> Backbone:
    """Build a backbone.

    Args:
        name: one of

            - torchvision's resnet18, resnet34, resnet50, resnet101 and vgg16;
            - DeepLab's resnet101_caffe (stride on the first 1x1 convolution, pooling in ceil mode) and vgg16_caffe;
            - MGD's resnet18_deep and resnet101_deep (three 3x3 convolutions as stem), and torchvision's
              wide_resnet50_2 and mobilenet_v2, which MGD uses as well;
            - timm's tf_efficientnet_lite0 as efficientnet_lite0, and efficientnet_lite0_light, the same network without
              its last two stages of blocks;
            - small networks for the sample scenes, which have no pretrained weights: sample_cnn, sample_cnn_deep,
              sample_cnn_light, sample_cnn_slim, sample_cnn_slim_deep, sample_cnn_slim_wide.
        output_stride: of the last stage. resnet18 and resnet34 have 32 only, VGG has 8 only, and MGD's backbones have
            16 or 32; the sample networks have 8 whatever this value is. The released mobilenet_v2 of MGD has 32,
            although it dilates as if it had 16.
        dilate: which convolutions are dilated where a stride is removed to reach `output_stride`. Only resnet50 and
            resnet101 leave the choice, the others dilate.

            - False: none (IRN);
            - True or `torchvision`: those of all blocks of a layer but the first, which is dilated as the layer before;
            - `all_but_first`: the same, but the first block of each layer is not dilated (RS+EPM, DHR, which do not
              dilate at all at output stride 16);
            - `all`: those of all blocks (Caffe's DeepLab).
        pretrained: safetensors file with the weights, or None for random ones. The deep stems of resnet18_deep and
            resnet101_deep stay random where the file holds torchvision's plain resnet18 or resnet101.

    Raises:
        InputError: the name is unknown, the backbone does not have that output stride, or the file holds the weights of
            another network.
    """
    builders: dict[str, Callable[[str, int, bool | str, str | None], Backbone]] = {
        "resnet50": _resnet,
        "resnet101": _resnet,
        "resnet18": _resnet,
        "resnet34": _resnet,
        "resnet101_caffe": _resnet_caffe,
        "vgg16": _vgg16,
        "vgg16_caffe": _vgg16,
        "resnet18_deep": _resnet_mgd,
        "resnet101_deep": _resnet_mgd,
        "wide_resnet50_2": _resnet_mgd,
        "mobilenet_v2": _mobilenet_v2,
        "efficientnet_lite0": _efficientnet_lite0,
        "efficientnet_lite0_light": _efficientnet_lite0,
        **dict.fromkeys(SAMPLE_CNNS, _sample_cnn),
    }
    if name not in builders:
        raise InputError(f"config: unknown backbone {name!r}; choose one of {', '.join(builders)}")
    if dilate not in (False, True, *DILATE):
        raise InputError(f"config: dilate {dilate!r} of {name}; choose one of {', '.join(DILATE)}")
    if output_stride not in (8, 16, 32):
        raise InputError(f"config: output_stride {output_stride} of {name}; choose 8, 16 or 32")
    return builders[name](name, output_stride, dilate, pretrained)


def freeze_batchnorm(network: nn.Module) -> None:
    """Keep every batch norm at its running statistics, also in later calls of train(); affine parameters learn."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module


def freeze_backbone(backbone: Backbone) -> None:
    """Keep all of a backbone's weights and statistics, also in later calls of train()."""
    freeze_batchnorm(backbone.freeze(len(backbone.stages)))


def load_weights(network: nn.Module, path: str | None, stem: tuple[str, ...] = ()) -> None:
    """Load a network's weights from a safetensors file; without a file the network stays as it is.

    Args:
        stem: prefixes of tensors that are loaded only where the file has one of the same name and shape.

    Raises:
        InputError: the file holds the weights of another network.
    """
    if path is None:
        return
    check_readable(path, "no such weights; run snakemake to fetch them")
    state, tensors = network.state_dict(), load_file(path)
    matching = {name for name in state.keys() & tensors.keys() if state[name].shape == tensors[name].shape}
    skipped = {name for name in state.keys() | tensors.keys() if name.startswith(stem)} - matching
    # Not every publisher counts batches, and Caffe's files lack torchvision's classifier. We use neither.
    optional = {name for name in state if name.endswith("num_batches_tracked") or name.startswith("fc.")}
    unchanged = {name: tensor for name, tensor in state.items() if name in skipped | optional}
    try:
        network.load_state_dict(unchanged | {name: t for name, t in tensors.items() if name not in skipped})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: weights do not fit {type(network).__name__} ({reason}); delete the file") from None


def _resnet(name: str, output_stride: int, dilate: bool | str, pretrained: str | None) -> Backbone:
    if name in ("resnet18", "resnet34") and output_stride != 32:
        raise InputError(f"config: output_stride {output_stride} of {name}; it has 32")
    from torchvision import models

    removed = [False, output_stride < 16, output_stride < 32]
    # Residual branches that start at zero: with random weights and frozen statistics, activations would overflow.
    network = getattr(models, name)(replace_stride_with_dilation=removed, zero_init_residual=True)
    load_weights(network, pretrained)
    for layer in (network.layer3, network.layer4):
        first, *others = (block.conv2 for block in layer)
        if dilate == "all":
            first.dilation = first.padding = others[-1].dilation
        elif dilate == "all_but_first":
            first.dilation = first.padding = (1, 1)
        elif not dilate:
            for convolution in (first, *others):
                convolution.dilation = convolution.padding = (1, 1)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    stages = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
    channels = [64, *(out * network.layer1[0].expansion for out in (64, 128, 256, 512))]
    strides = [4, 4, 8, min(16, output_stride), min(32, output_stride)]
    return Backbone(stages, channels, strides, IMAGENET_MEAN, IMAGENET_STD)


def _resnet_caffe(
    name: str,
    output_stride: int,
    dilate: bool | str,
    pretrained: str | None,
    blocks: tuple[int, ...] = (3, 4, 23, 3),
) -> Backbone:
    from torchvision.models.resnet import Bottleneck, ResNet

    network = ResNet(Bottleneck, list(blocks), zero_init_residual=True)
    load_weights(network, pretrained)
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


def _resnet_mgd(name: str, output_stride: int, dilate: bool | str, pretrained: str | None) -> Backbone:
    from torchvision import models

    _check_stride_16_or_32(name, output_stride)
    network = getattr(models, name.removesuffix("_deep"))(zero_init_residual=True)
    if name == "wide_resnet50_2":
        load_weights(network, pretrained)
    else:
        _deepen_stem(network, width={"resnet18_deep": 32, "resnet101_deep": 64}[name])
        # The released ResNet-18 takes torchvision's weights by name: all but those of the stem's convolutions, which
        # keep torch's initial values, and the norms between them. The released ResNet-101 takes weights of a network
        # with a deep stem. Torchvision's weights are a deviation: they also leave the norm behind the stem and two 1x1
        # convolutions random, because these have the width of the stem's map.
        if name == "resnet101_deep":
            _initialise_as_torchvision(network.conv1, network.layer1[0])
        load_weights(network, pretrained, stem=("conv1.", "bn1.", "layer1.0."))
    layers = [network.layer1, network.layer2, network.layer3, network.layer4]
    if output_stride == 16:
        for block, dilation in zip(network.layer4, (2, 4, 8), strict=False):  # ResNet-18 has two blocks
            _dilate(block, dilation)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    channels = [network.bn1.num_features, *(out * layers[0][0].expansion for out in (64, 128, 256, 512))]
    return Backbone([stem, *layers], channels, [4, 4, 8, 16, output_stride], IMAGENET_MEAN, IMAGENET_STD)


def _deepen_stem(network: Any, width: int) -> None:
    """Put three 3x3 convolutions, the last twice as wide, in place of the 7x7 of a torchvision ResNet. The names of the
    layers are the usual ones of such ResNets."""
    last = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
    network.conv1 = nn.Sequential(*conv_block(3, width, 2), *conv_block(width, width, 1), last)
    network.bn1 = nn.BatchNorm2d(2 * width)
    first = network.layer1[0]
    if first.conv1.in_channels != 2 * width:
        for parent, name in ((first, "conv1"), (first.downsample, "0")):
            narrow = parent.get_submodule(name)
            parent.add_module(name, nn.Conv2d(2 * width, narrow.out_channels, 1, bias=False))


def _initialise_as_torchvision(*parts: nn.Module) -> None:
    for module in nn.ModuleList(parts).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _dilate(block: nn.Module, dilation: int) -> None:
    """Remove a block's stride and dilate its 3x3 convolutions."""
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


def _mobilenet_v2(name: str, output_stride: int, dilate: bool | str, pretrained: str | None) -> Backbone:
    from torchvision.models import mobilenet_v2

    _check_stride_16_or_32(name, output_stride)
    network = mobilenet_v2()
    load_weights(network, pretrained)
    blocks = network.features[:18]  # without the last 1x1 convolution to 1280 channels
    for block, dilation in zip(blocks[15:], (2, 4, 8), strict=True):
        _dilate(block, dilation)
    if output_stride == 16:  # the released code dilates the blocks behind block 14, but leaves this block's stride
        blocks[14].conv[1][0].stride = (1, 1)
    stages = [blocks[start:end] for start, end in ((0, 2), (2, 4), (4, 7), (7, 14), (14, 18))]
    return Backbone(stages, [16, 24, 32, 96, 320], [2, 4, 8, 16, output_stride], IMAGENET_MEAN, IMAGENET_STD)


def _check_stride_16_or_32(name: str, output_stride: int) -> None:
    if output_stride == 8:
        raise InputError(f"config: output_stride {output_stride} of {name}; it has 16 or 32")


def _vgg16(name: str, output_stride: int, dilate: bool | str, pretrained: str | None) -> Backbone:
    from torchvision.models import vgg

    if output_stride != 8:
        raise InputError(f"config: output_stride {output_stride} of {name}; it has 8")
    features = vgg.make_layers(vgg.cfgs["D"])
    load_weights(features, pretrained)
    for convolution in features[24:30:2]:  # conv5_1 to conv5_3, behind the stride that pool4 gave up
        convolution.dilation = convolution.padding = (2, 2)
    stages, start = [], 0
    for end, stride in zip((4, 9, 16, 23, 30), (2, 2, 2, 1, 1), strict=True):
        stages.append(nn.Sequential(*features[start:end], nn.MaxPool2d(3, stride, padding=1, ceil_mode=True)))
        start = end + 1
    mean, std = (CAFFE_MEAN, CAFFE_STD) if name == "vgg16_caffe" else (IMAGENET_MEAN, IMAGENET_STD)
    return Backbone(stages, [64, 128, 256, 512, 512], [2, 4, 8, 8, 8], mean, std)


def _efficientnet_lite0(name: str, output_stride: int, dilate: bool | str, pretrained: str | None) -> Backbone:
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", output_stride=output_stride)
    load_weights(network, pretrained)
    blocks = network.blocks
    stages = [nn.Sequential(network.conv_stem, network.bn1, blocks[0]), blocks[1], blocks[2]]
    half, deep = (0.5, 0.5, 0.5), min(16, output_stride)
    if name == "efficientnet_lite0_light":
        return Backbone([*stages, blocks[3], blocks[4]], [16, 24, 40, 80, 112], [2, 4, 8, deep, deep], half, half)
    stages += [nn.Sequential(blocks[3], blocks[4]), nn.Sequential(blocks[5], blocks[6])]
    return Backbone(stages, [16, 24, 40, 112, 320], [2, 4, 8, deep, min(32, output_stride)], half, half)


def _sample_cnn(name: str, output_stride: int, dilate: bool | str, pretrained: str | None) -> Backbone:
    """A network small enough to learn the sample scenes from scratch on a CPU in a minute."""
    channels, depth, separable = SAMPLE_CNNS[name]
    strides = [2, 4, 8, 8, 8]
    stages: list[nn.Module] = []
    width, stride = 3, 1
    for out, target in zip(channels, strides, strict=True):
        stage = conv_block(width, out, target // stride, separable=separable and width > 3)
        if depth > 1:
            stage.append(_Residual(*(conv_block(out, out, 1, separable=separable) for _ in range(depth - 1))))
        stages.append(stage)
        width, stride = out, target
    network = nn.Sequential(*stages)
    load_weights(network, pretrained)
    half = (0.5, 0.5, 0.5)
    return Backbone(list(network), list(channels), strides, half, half)


class _Residual(nn.Sequential):
    """Adds the output of its blocks, which starts at 0, to its input: without such a shortcut deep networks learn
    little from few images. The last block's ReLU is left out."""

    def __init__(self, *blocks: nn.Sequential):
        norm = blocks[-1][-2]
        super().__init__(*blocks[:-1], blocks[-1][:-1])
        nn.init.zeros_(norm.get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def conv_block(inputs: int, outputs: int, stride: int, *, separable: bool = False) -> nn.Sequential:
    """A 3x3 convolution, batch norm and ReLU.

    Args:
        separable: the 3x3 convolution is depthwise, a 1x1 convolution follows it, and each has its norm and ReLU.
    """
    if separable:
        depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        return nn.Sequential(*_with_norm(depthwise), *_with_norm(pointwise))
    return nn.Sequential(*_with_norm(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)))


def _with_norm(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]
