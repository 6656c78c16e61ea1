"""Networks of BAS, background activation suppression (Wu et al., CVPR 2022; Zhai et al., IJCV 2024).

Those for localisation follow `WSOL/Model/` of the extension's released code (wpy1999/BAS-Extension), the one for seeds
follows `WSSS/net/resnet50_bas.py` there.

Symbols are the paper's: F = f1(I), M = sigmoid(generator(F)), M_f = M[y], M_b = 1 - M_f. f2 is the rest of the network
up to one score map per class, f2~ a copy of f2 that does not learn.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from maskmill.errors import InputError
from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    build_backbone,
    conv_block,
    freeze_batchnorm,
    load_weights,
)

Floats = tuple[float, ...]
Parts = tuple[nn.Sequential, nn.Sequential, tuple[int, int], Floats, Floats]


class Branches(NamedTuple):
    """Input of BAS's losses for B images and C classes.

    Attributes:
        scores: f2(F), [B, C, h', w'].
        foreground: M_f, the map of each image's class, [B, 1, h, w] in 0..1.
        erased: f2~(F M_b), [B, C, h', w']; its gradients reach only the generator and the layers before F.
    """

    scores: Tensor
    foreground: Tensor
    erased: Tensor


class _BAS(nn.Module):
    """f1, generator and f2, and the branch that sees what M_f leaves of the features.

    Attributes:
        mean, std: RGB normalisation of the input, for images in 0..1.
    """

    def __init__(self, f1: nn.Sequential, generator: nn.Conv2d, f2: nn.Sequential, mean: Floats, std: Floats):
        super().__init__()
        self.f1, self.generator, self.f2 = f1, generator, f2
        self.mean, self.std = mean, std

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Branches | Tensor:
        """x: normalised images [B, 3, H, W]; labels: int64 [B], each image's class, 0..C-1.

        Returns the `Branches`; without labels the scores f2(F) alone, [B, C, h', w'], which are those of the plain
        classifier that BAS is compared with.
        """
        features = self.f1(x)
        if labels is None:
            return self.f2(features)
        maps = self.generator(features).sigmoid()
        foreground = maps[torch.arange(len(x), device=x.device), labels][:, None]
        # As in the released code, F is detached in the erased branch only: the generator's gradient still reaches f1.
        erased = frozen_call(self.f2, features.detach() * (1 - foreground))
        return Branches(self.f2(features), foreground, erased)

    def maps(self, x: Tensor) -> Tensor:
        """M of normalised images [B, 3, H, W]: [B, C, h, w] in 0..1."""
        return self.generator(self.f1(x)).sigmoid()


class BASSeeds(_BAS):
    """BAS for seeds: F is the fourth stage's map, f2 is the fifth stage and a bias-free 1x1 classifier.

    With ResNet-50 at output stride 16 this is the authors' network, whose batch norms learn as all other layers do.

    Args:
        backbone, output_stride: see `build_backbone`.
        num_classes: foreground classes.
        cut: stages before F, of the backbone's five. Where the receptive field of the fourth stage is as large as an
            object, F around the object still shows what M_f erases, and M_f grows as far. A map of an earlier stage
            has a smaller receptive field.
        frozen_stages: how many of the five stages do not learn (the authors train all).
        frozen_batchnorm: keep the backbone's batch norms at their stored statistics (for small batches; the authors do
            not). With the statistics of the batch, more activation is left where M_f erases an object.
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        output_stride: int = 16,
        cut: int = 4,
        frozen_stages: int = 0,
        frozen_batchnorm: bool = False,
        pretrained: str | None = None,
    ):
        arguments = constructor_arguments(locals())
        body = build_backbone(backbone, output_stride=output_stride, pretrained=pretrained)
        body.freeze(frozen_stages)
        if frozen_batchnorm:
            freeze_batchnorm(body)
        super().__init__(
            nn.Sequential(*body.stages[:cut]),
            nn.Conv2d(body.channels[cut - 1], num_classes, 3, padding=1, bias=False),
            nn.Sequential(*body.stages[cut:], nn.Conv2d(body.channels[4], num_classes, 1, bias=False)),
            body.mean,
            body.std,
        )
        self.arguments = arguments
        for layer in (self.generator, self.f2[-1]):
            _initialise(layer, normal=False)

    def load_stages(self, stages: nn.ModuleList) -> None:
        """Start from the five stages of a trained backbone of the same architecture.

        The 1x1 classifier is not taken over: that of `Classifier` has learnt scores below zero for classes that it does
        not see, so that S_b would never be positive and L_bas would do nothing.
        """
        for own, trained in zip((*self.f1, *self.f2[:-1]), stages, strict=True):
            own.load_state_dict(trained.state_dict())

    def cam(self, x: Tensor) -> Tensor:
        """x: one normalised image [1, 3, H, W]. Returns its maps plus those of its mirror image, [C, h, w] in 0..2."""
        return (self.maps(x) + self.maps(x.flip(-1)).flip(-1))[0]


class BASLocalizer(_BAS):
    """BAS for localisation: for images of 224 pixels F has 28x28 cells and f2(F) 14x14.

    Args:
        backbone: the authors' vgg16, resnet50, mobilenet_v1 or inception_v3; or efficientnet_lite0 or sample_cnn, which
            are divided into f1 and f2 as resnet50 is.
        num_classes: C.
        head_width: channels of the two 3x3 convolutions before the score maps.
        final_relu: a ReLU follows the score maps, as in the CVPR release; the extension has none.
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        head_width: int = 1024,
        final_relu: bool = False,
        pretrained: str | None = None,
    ):
        arguments = constructor_arguments(locals())
        f1, rest, (width, deep_width), mean, std = _split(backbone, pretrained)
        head = nn.Sequential(
            *(nn.Conv2d(deep_width, head_width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(head_width, head_width, 3, padding=1), nn.ReLU(inplace=True)),
            nn.Conv2d(head_width, num_classes, 1),
            *([nn.ReLU()] if final_relu else []),
        )
        generator = nn.Conv2d(width, num_classes, 3, padding=1)
        super().__init__(f1, generator, nn.Sequential(rest, head), mean, std)
        self.arguments = arguments
        for layer in (*head, generator):
            if isinstance(layer, nn.Conv2d):
                _initialise(layer, normal=backbone == "vgg16")

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: normalised images [B, 3, H, W].

        Returns:
            Logits [B, C]; M [B, C, h, w] in 0..1; f2(F) [B, C, h', w'], whose channels are the class activation maps
            of the same network.
        """
        features = self.f1(x)
        scores = self.f2(features)
        return scores.mean(dim=(2, 3)), self.generator(features).sigmoid(), scores


def frozen_call(module: nn.Module, x: Tensor) -> Tensor:
    """module(x), computed by a copy of its weights that gets no gradient and whose batch statistics are dropped.

    If the weights were shared with the live module, it would learn to be silent on the background, and the training
    would collapse (issue 2 of the released code wpy1999/BAS).
    """
    weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
    statistics = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return functional_call(module, weights | statistics, (x,))


def parameter_groups(
    network: _BAS,
    *,
    lr: float,
    weight_decay: float,
    new_factor: float = 10,
    generator_factor: float | None = None,
    bias_factor: float = 2,
) -> list[dict]:
    """Groups of the released optimisers: weights and biases of the backbone, of the score layers, of the generator.

    The released factors are 10, 10 and 2 for localisation. For seeds they are 10, 10 and 0, because the released code
    puts no bias into any group.

    Args:
        lr: learning rate of the backbone's weights.
        new_factor: the score layers' weights learn at this times `lr`.
        generator_factor: the generator's weights learn at this times `lr`; None: as the score layers' weights.
        bias_factor: biases, also those of norms, learn at this times the rate of the weights of the same part.
    """
    if generator_factor is None:
        generator_factor = new_factor
    score_layers, generator = (dict(layer.named_parameters()) for layer in (network.f2[-1], network.generator))
    new = {id(parameter) for parameter in (*score_layers.values(), *generator.values())}
    backbone = {name: parameter for name, parameter in network.named_parameters() if id(parameter) not in new}
    groups = []
    for part, factor in ((backbone, 1), (score_layers, new_factor), (generator, generator_factor)):
        for is_bias in (False, True):
            parameters = [parameter for name, parameter in part.items() if name.endswith("bias") == is_bias]
            rate = lr * factor * (bias_factor if is_bias else 1)
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": weight_decay})
    return groups


def _initialise(layer: nn.Module, *, normal: bool) -> None:
    """Initialise a convolution as the released code does: for VGG N(0, 0.02), with biases as torch draws them; else
    Xavier-uniform, with biases of 0."""
    weight = layer.get_parameter("weight")
    if normal:
        nn.init.normal_(weight, std=0.02)
        return
    nn.init.xavier_uniform_(weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.get_parameter("bias"))


def _split(backbone: str, pretrained: str | None) -> Parts:
    """f1, f2 without the head, the channels of both, mean and standard deviation of the input."""
    builders = {
        "vgg16": _vgg16,
        "mobilenet_v1": _mobilenet_v1,
        "inception_v3": _inception_v3,
        **dict.fromkeys(("resnet50", "efficientnet_lite0", "sample_cnn"), _five_stages),
    }
    if backbone not in builders:
        raise InputError(f"config: unknown backbone {backbone!r} of BAS; choose one of {', '.join(builders)}")
    return builders[backbone](backbone, pretrained)


def _five_stages(name: str, pretrained: str | None) -> Parts:
    body = build_backbone(name, output_stride=8, pretrained=pretrained)
    rest = nn.Sequential(nn.MaxPool2d(2), body.stages[4])
    return nn.Sequential(*body.stages[:4]), rest, (body.channels[3], body.channels[4]), body.mean, body.std


def _vgg16(name: str, pretrained: str | None) -> Parts:
    """F is the map behind conv4_3; pool4 and conv5 follow, pool5 is left out."""
    stages = build_backbone(name, output_stride=8, pretrained=pretrained).stages
    convolutions = [stage[:-1] for stage in stages if isinstance(stage, nn.Sequential)]
    for layer in convolutions[4]:
        if isinstance(layer, nn.Conv2d):  # `build_backbone` dilates them, for DeepLab
            layer.dilation = layer.padding = (1, 1)
    f1 = [part for stage in convolutions[:3] for part in (stage, nn.MaxPool2d(2))]
    rest = nn.Sequential(nn.MaxPool2d(2), convolutions[4])
    return nn.Sequential(*f1, convolutions[3]), rest, (512, 512), IMAGENET_MEAN, IMAGENET_STD


def _mobilenet_v1(name: str, pretrained: str | None) -> Parts:
    """Howard et al., 2017, with block 6 at stride 1, as released. F is the map behind block 11, with 28x28 cells."""
    widths = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
    strides = (1, 2, 1, 2, 1, *[1] * 6, 2, 1)
    blocks = [conv_block(3, 32, 2)]
    blocks += [conv_block(*sizes, separable=True) for sizes in zip(widths, widths[1:], strides, strict=False)]
    network = nn.Sequential(*blocks)
    load_weights(network, pretrained)
    return network[:12], network[12:], (512, 1024), IMAGENET_MEAN, IMAGENET_STD


def _inception_v3(name: str, pretrained: str | None) -> Parts:
    """F is the map behind Mixed_6e, with 28x28 cells."""
    from maskmill.networks.inception import inception_v3  # torchvision is slow to import, and only this needs it

    network = inception_v3()
    load_weights(network, pretrained)
    names = (
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
        *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    )
    f1 = nn.Sequential(*(network.get_submodule(part) for part in names))
    rest = nn.Sequential(*(network.get_submodule(part) for part in ("Mixed_7a", "Mixed_7b", "Mixed_7c")))
    return f1, rest, (768, 2048), IMAGENET_MEAN, IMAGENET_STD
