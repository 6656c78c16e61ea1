"""Networks of BAS, background activation suppression (Wu et al., CVPR 2022; Zhai et al., IJCV 2024; spec 4).

Symbols are the paper's: F = f1(I), M = sigmoid(generator(F)), M_f = M[y], M_b = 1 - M_f, f2 the rest of the network up
to one score map a class, f2~ a copy of f2 that does not learn.
"""

from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call

from maskmill.errors import InputError
from maskmill.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, build_backbone, freeze_batchnorm


class Branches(NamedTuple):
    """What the losses of BAS see of B images and C classes.

    Attributes:
        scores: f2(F), [B, C, h', w'].
        foreground: M_f, the map of each image's class, [B, 1, h, w] in 0..1.
        erased: f2~(F M_b), [B, C, h', w']; only the generator and what is before F learn from it.
    """

    scores: Tensor
    foreground: Tensor
    erased: Tensor


class _BAS(nn.Module):
    """f1, generator and f2, and the branch that sees what M_f leaves over.

    Attributes:
        mean, std: RGB normalisation of the input, for images in 0..1.
    """

    def __init__(self, f1: nn.Module, generator: nn.Module, f2: nn.Module, mean, std):
        super().__init__()
        self.f1, self.generator, self.f2 = f1, generator, f2
        self.mean, self.std = mean, std

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Branches | Tensor:
        """x: normalised images [B, 3, H, W]; labels: int64 [B], each image's class, 0..C-1.

        Without labels the scores f2(F) alone, [B, C, h', w']: the classifier that BAS is compared with.
        """
        features = self.f1(x)
        if labels is None:
            return self.f2(features)
        maps = self.generator(features).sigmoid()
        foreground = maps[torch.arange(len(x), device=x.device), labels][:, None]
        # F is detached in the erased branch alone: the generator's way back to f1 stays open (spec 4.1).
        erased = frozen_call(self.f2, features.detach() * (1 - foreground))
        return Branches(self.f2(features), foreground, erased)

    def maps(self, x: Tensor) -> Tensor:
        """M of normalised images [B, 3, H, W]: [B, C, h, w] in 0..1."""
        return self.generator(self.f1(x)).sigmoid()


class BASSeeds(_BAS):
    """BAS for seeds (spec 4.6): F is the fourth stage's map; f2 is the fifth stage and a bias-free 1x1 classifier.

    With ResNet-50 at output stride 16 this is the authors' network, batch norms learning as all else.

    Args:
        backbone, output_stride: see `build_backbone`.
        num_classes: foreground classes.
        cut: stages before F, of the backbone's five. Where the fourth stage sees as much as an object, what M_f
            erases of the object is still to be read in F around it, and M_f grows as far; a map before it sees less.
        frozen_stages: how many of the five do not learn (the authors': all do).
        frozen_batchnorm: keep the backbone's batch norms at their stored statistics (for small batches; not the
            authors'). By those of the batch, more activation is left where M_f erases an object.
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
        self.arguments = {
            "backbone": backbone,
            "num_classes": num_classes,
            "output_stride": output_stride,
            "cut": cut,
            "frozen_stages": frozen_stages,
            "frozen_batchnorm": frozen_batchnorm,
        }
        for layer in (self.generator, self.f2[-1]):
            _start(layer, normal=False)

    def load_stages(self, stages: nn.ModuleList) -> None:
        """Start from the five stages of a trained backbone of the same architecture.

        A trained 1x1 classifier is no start: that of `Classifier` has learnt scores below zero for what it does not
        see, so that S_b is never positive and L_bas does nothing.
        """
        for own, trained in zip((*self.f1, *self.f2[:-1]), stages, strict=True):
            own.load_state_dict(trained.state_dict())

    def cam(self, x: Tensor) -> Tensor:
        """x: one normalised image [1, 3, H, W]. Returns its maps plus those of its mirror image, [C, h, w] in 0..2."""
        return (self.maps(x) + self.maps(x.flip(-1)).flip(-1))[0]


class BASLocalizer(_BAS):
    """BAS for localisation (spec 4.2): at 224 pixels F has 28x28 cells, f2(F) 14x14.

    Args:
        backbone: vgg16, resnet50, mobilenet_v1 or inception_v3, the authors'; efficientnet_lite0 and sample_cnn are cut
            as resnet50 is.
        num_classes: C.
        head_width: channels of the two 3x3 convolutions before the score maps.
        final_relu: score maps end in a ReLU, as in the CVPR release; the extension's do not.
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
        f1, rest, (width, deep_width), mean, std = _split(backbone, pretrained)
        head = nn.Sequential(
            *(nn.Conv2d(deep_width, head_width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(head_width, head_width, 3, padding=1), nn.ReLU(inplace=True)),
            nn.Conv2d(head_width, num_classes, 1),
            *([nn.ReLU()] if final_relu else []),
        )
        generator = nn.Conv2d(width, num_classes, 3, padding=1)
        super().__init__(f1, generator, nn.Sequential(rest, head), mean, std)
        self.arguments = {
            "backbone": backbone,
            "num_classes": num_classes,
            "head_width": head_width,
            "final_relu": final_relu,
        }
        for layer in (*head, generator):
            if isinstance(layer, nn.Conv2d):
                _start(layer, normal=backbone == "vgg16")

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
    """module(x) by a copy of its weights that gets no gradient; what the copy learns of batch statistics is dropped.

    Were the weights shared with the live module, it would learn to be silent on the background, and the training would
    collapse (spec 0, point 7).
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

    Args:
        lr: of the backbone's weights; score layers have `new_factor` times it, the generator `generator_factor` times
            it (None: as the score layers), biases (also those of norms) `bias_factor` times what weights beside them
            have. Localisation: 10, 10 and 2 (spec 4.3). Seeds: 10, 10 and 0, for the released code puts no bias into
            any group (spec 0, point 6).
    """
    if generator_factor is None:
        generator_factor = new_factor
    score_layers, generator = (dict(layer.named_parameters()) for layer in (network.f2[-1], network.generator))
    new = {id(parameter) for parameter in (*score_layers.values(), *generator.values())}
    backbone = {name: parameter for name, parameter in network.named_parameters() if id(parameter) not in new}
    groups = []
    for part, factor in ((backbone, 1), (score_layers, new_factor), (generator, generator_factor)):
        for is_bias in (False, True):
            own = [parameter for name, parameter in part.items() if name.endswith("bias") == is_bias]
            rate = lr * factor * (bias_factor if is_bias else 1)
            if own:
                groups.append({"params": own, "lr": rate, "weight_decay": weight_decay})
    return groups


def _start(layer: nn.Conv2d, *, normal: bool) -> None:
    """Released initialisation: N(0, 0.02) for VGG, else Xavier-uniform; biases, where there are any, start at 0."""
    if normal:
        nn.init.normal_(layer.weight, std=0.02)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _split(backbone: str, pretrained: str | None) -> tuple[nn.Module, nn.Module, tuple[int, int], tuple, tuple]:
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


def _five_stages(name: str, pretrained: str | None):
    body = build_backbone(name, output_stride=8, pretrained=pretrained)
    rest = nn.Sequential(nn.MaxPool2d(2), body.stages[4])
    return nn.Sequential(*body.stages[:4]), rest, (body.channels[3], body.channels[4]), body.mean, body.std


def _vgg16(name: str, pretrained: str | None):
    """F behind conv4_3; pool4 and conv5 follow, pool5 does not."""
    convolutions = [stage[:-1] for stage in build_backbone(name, output_stride=8, pretrained=pretrained).stages]
    for layer in convolutions[4]:
        if isinstance(layer, nn.Conv2d):  # DeepLab's are dilated
            layer.dilation = layer.padding = (1, 1)
    f1 = [part for stage in convolutions[:3] for part in (stage, nn.MaxPool2d(2))]
    rest = nn.Sequential(nn.MaxPool2d(2), convolutions[4])
    return nn.Sequential(*f1, convolutions[3]), rest, (512, 512), IMAGENET_MEAN, IMAGENET_STD


def _mobilenet_v1(name: str, pretrained: str | None):
    """Howard et al., 2017, with block 6 at stride 1, as released. F behind block 11, with 28x28 cells."""
    widths = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
    strides = (1, 2, 1, 2, 1, *[1] * 6, 2, 1)
    blocks = [nn.Sequential(*_with_norm(nn.Conv2d(3, 32, 3, 2, padding=1, bias=False)))]
    blocks += map(_separable, widths, widths[1:], strides)
    network = nn.Sequential(*blocks)
    _load(network, pretrained)
    return network[:12], network[12:], (512, 1024), IMAGENET_MEAN, IMAGENET_STD


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
    return nn.Sequential(*_with_norm(depthwise), *_with_norm(nn.Conv2d(inputs, outputs, 1, bias=False)))


def _with_norm(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)]


def _inception_v3(name: str, pretrained: str | None):
    """F behind Mixed_6e, with 28x28 cells."""
    from maskmill.networks.inception import inception_v3  # torchvision is slow to start, and only this needs it

    network = inception_v3()
    _load(network, pretrained)
    names = (
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
        *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    )
    f1 = nn.Sequential(*(network.get_submodule(part) for part in names))
    rest = nn.Sequential(network.Mixed_7a, network.Mixed_7b, network.Mixed_7c)
    return f1, rest, (768, 2048), IMAGENET_MEAN, IMAGENET_STD


def _load(network: nn.Module, path: str | None) -> None:
    if path is None:
        return
    counters = {name: t for name, t in network.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(counters | load_file(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: weights do not fit the backbone ({reason}); delete the file") from None
