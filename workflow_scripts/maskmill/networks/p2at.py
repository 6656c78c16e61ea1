"""P2AT: a convolutional encoder, a pyramid pooling axial transformer on its last map, and a decoder that fuses levels.

M. A. M. Elhassan, C. Zhou, A. Benabid, A. B. M. Adam: "P2AT: Pyramid pooling axial transformer for real-time semantic
segmentation", Expert Systems with Applications 255, 2024. The graph is that of the released code (mohamedac29/P2AT,
`models/common_blocks.py`). Every map behind the encoder has 64 channels; B, C, h, w are batch, channels, height and
width of a map.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.choices import check_choice
from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone
from maskmill.networks.norms import NormOfOneValue

WIDTH = 64
POSITIONS = 16  # learned positions along a side, interpolated to the map's


class P2AT(nn.Module):
    """The network; in training mode with its auxiliary heads.

    Args:
        backbone: see `build_backbone`; the paper's are resnet18 (S), resnet34 (M) and resnet50 (L).
        num_classes: K, of the logits.
        p2_concat: averages that the pyramid pooling concatenates: `official`, those of windows 3, 3 and 7, because the
            released code repeats the first and never uses 5; `intended`, those of 3, 5 and 7.
        column_projection: `official` projects the attention along columns by a 1x1 convolution only; `intended` adds
            norm and activation, as along rows.
        auxiliary: `semantic`, two heads for class logits; `boundary`, one head for class logits and one for a boundary
            logit; `none`, as in deployment.
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        p2_concat: str = "official",
        column_projection: str = "official",
        auxiliary: str = "semantic",
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.backbone = build_backbone(backbone, output_stride=32, dilate=True, pretrained=pretrained)
        x1, x2, x3, x4 = self.backbone.channels[1:]
        self.reduce = conv_norm_prelu(x4, WIDTH, 1)
        self.ssa = SSA(WIDTH, p2_concat=p2_concat, column_projection=column_projection)
        self.decode1 = DecoderBlock(WIDTH, 3)
        self.fuse2 = BiF(x2, x3, WIDTH, WIDTH)
        self.context2 = GCE(WIDTH)
        self.decode2 = DecoderBlock(WIDTH, 5)
        self.fuse3 = BiF(x1, x2, WIDTH, WIDTH)
        self.context3 = GCE(WIDTH)
        self.decode3 = DecoderBlock(WIDTH, 7)
        self.refine3 = conv_norm_prelu(WIDTH, WIDTH, 3)
        self.refine2 = nn.Sequential(conv_norm_prelu(2 * WIDTH, WIDTH, 3), conv_norm_prelu(WIDTH, WIDTH, 3))
        self.refine1 = nn.Sequential(conv_norm_prelu(2 * WIDTH, WIDTH, 3), conv_norm_prelu(WIDTH, WIDTH, 3))
        self.head = SegHead(WIDTH, WIDTH, num_classes)
        outputs = {"semantic": (num_classes, num_classes), "boundary": (num_classes, 1), "none": ()}[auxiliary]
        self.auxiliary = nn.ModuleList(SegHead(WIDTH, WIDTH, channels) for channels in outputs)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """x: normalised images [B, 3, H, W] of any size.

        Returns logits [B, num_classes, H, W]; in training mode with auxiliary heads also the two maps of these, of the
        same size.
        """
        x1, x2, x3, x4 = self.backbone(x)[1:]  # strides 4, 8, 16, 32
        p1 = self.decode1(self.ssa(self.reduce(x4)))
        b4 = self.fuse2(x2, x3, p1)
        p2 = self.decode2(self.context2(b4))
        b3 = self.fuse3(x1, x2, p2)
        p3 = self.decode3(self.context3(b3))
        r = self.refine3(p3)  # stride 4 from here on
        r = self.refine2(torch.cat([_resize(p2, r), r], dim=1))
        r = self.refine1(torch.cat([_resize(p1, r), r], dim=1))
        logits = _to_image(self.head(r), x)
        if not (self.training and len(self.auxiliary)):
            return logits
        first, second = (_to_image(head(b), x) for head, b in zip(self.auxiliary, (b4, b3), strict=True))
        return logits, first, second


class PlainDecoder(nn.Module):
    """Baseline of P2AT: a 1x1 convolution on the encoder's last map, and bilinear upsampling.

    Args:
        backbone, num_classes, pretrained: see `P2AT`.
    """

    def __init__(self, backbone: str, num_classes: int, *, pretrained: str | None = None):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.backbone = build_backbone(backbone, output_stride=32, dilate=True, pretrained=pretrained)
        self.head = nn.Conv2d(self.backbone.channels[-1], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: normalised images [B, 3, H, W]. Returns logits [B, num_classes, H, W]."""
        return _to_image(self.head(self.backbone(x)[-1]), x)


# The axial transformer


class SSA(nn.Module):
    """Layers of axial attention and MLP, each added to its input; there are no norms outside the convolutions."""

    def __init__(
        self,
        dim: int,
        *,
        key_dim: int = 16,
        heads: int = 8,
        mlp_ratio: int = 4,
        value_ratio: int = 2,
        layers: int = 2,
        p2_concat: str = "official",
        column_projection: str = "official",
    ):
        super().__init__()
        switches = {"p2_concat": p2_concat, "column_projection": column_projection}
        self.attention = nn.ModuleList(
            PyramidAxialAttention(dim, key_dim, heads, value_ratio, **switches) for _ in range(layers)
        )
        self.mlp = nn.ModuleList(MLP(dim, mlp_ratio * dim) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for attention, mlp in zip(self.attention, self.mlp, strict=True):
            x = x + attention(x)
            x = x + mlp(x)
        return x


class PyramidAxialAttention(nn.Module):
    """Attention along rows and along columns of a pooled map, times local features.

    Queries and keys have `key_dim` channels per head, values `value_ratio` times as many.
    """

    def __init__(
        self,
        dim: int,
        key_dim: int,
        heads: int,
        value_ratio: int,
        *,
        p2_concat: str = "official",
        column_projection: str = "official",
    ):
        super().__init__()
        keys, values = key_dim * heads, value_ratio * key_dim * heads
        self.heads, self.scale = heads, key_dim**-0.5
        self.pool = PyramidPooling(dim, p2_concat=p2_concat)
        self.query = nn.Conv2d(dim, keys, 1, bias=False)
        self.key = nn.Conv2d(dim, keys, 1, bias=False)
        self.value = nn.Conv2d(dim, values, 1, bias=False)
        self.row_positions = nn.ParameterList(torch.randn(1, keys, POSITIONS) for _ in range(2))
        self.column_positions = nn.ParameterList(torch.randn(1, keys, POSITIONS) for _ in range(2))
        check_choice("column_projection", column_projection, ("official", "intended"))
        self.row = conv_norm_prelu(values, values, 1)
        self.column = (
            nn.Conv2d(values, values, 1, bias=False)
            if column_projection == "official"
            else conv_norm_prelu(values, values, 1)
        )
        self.project = conv_norm_prelu(values, dim, 1)
        self.local = LocalFeatures(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x)
        q, k, v = self.query(pooled), self.key(pooled), self.value(pooled)
        rows = self._attend(q.mean(dim=3), k.mean(dim=3), v.mean(dim=3), self.row_positions)  # [B, C, h]
        columns = self._attend(q.mean(dim=2), k.mean(dim=2), v.mean(dim=2), self.column_positions)  # [B, C, w]
        y = v + self.row(rows[:, :, :, None]) + self.column(columns[:, :, None, :])
        return self.project(y) * self.local(x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, positions: nn.ParameterList) -> Tensor:
        """Attention of a sequence [B, C, n] on itself."""
        q, k = (
            m + F.interpolate(p, size=m.shape[-1], mode="linear", align_corners=False)
            for m, p in zip((q, k), positions, strict=True)
        )
        q, k, v = (m.unflatten(1, (self.heads, -1)) for m in (q, k, v))  # [B, heads, C / heads, n]
        weights = (self.scale * q.transpose(2, 3) @ k).softmax(dim=-1)
        return (weights @ v.transpose(2, 3)).transpose(2, 3).flatten(1, 2)


class PyramidPooling(nn.Module):
    """Averages over three growing windows, mixed channel by channel, weight the map that they average."""

    def __init__(self, dim: int, *, p2_concat: str = "official"):
        super().__init__()
        check_choice("p2_concat", p2_concat, ("official", "intended"))
        self.p2_concat = p2_concat
        self.reduce = conv_norm_prelu(dim, dim, 1)
        self.mix = conv_norm_prelu(3 * dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        a1 = _average(x, 3)
        a2 = _average(a1, 5)
        a3 = _average(a2, 7)
        middle = a1 if self.p2_concat == "official" else a2
        return self.mix(torch.cat([a1, middle, a3], dim=1)) * x


class LocalFeatures(nn.Module):
    """Local feature injection (LFI): a 1x1 and a residual 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.embed = conv_norm(inputs, outputs, 1)
        self.local = conv_norm(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.local(x) + x


class MLP(nn.Sequential):
    def __init__(self, dim: int, hidden: int):
        super().__init__(
            nn.Conv2d(dim, hidden, 1, bias=False),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, dim, 1, bias=False),
        )


# Fusion of levels


class BiF(nn.Module):
    """Bidirectional fusion (BiF) of a high-resolution map d, a middle map s and a deep map u, at the size of d.

    Args:
        high, middle, deep: channels of d, s and u.
        outputs: channels of the result.
    """

    def __init__(self, high: int, middle: int, deep: int, outputs: int):
        super().__init__()
        self.high = LFR(high, outputs)
        self.middle = conv_norm(middle, outputs, 1)
        self.deep = SFU(deep, outputs)
        self.mix = conv_norm(3 * outputs, outputs, 1)

    def forward(self, d: Tensor, s: Tensor, u: Tensor) -> Tensor:
        d = self.high(d)
        s, u = _resize(self.middle(s), d), _resize(self.deep(u), d)
        return self.mix(torch.cat([d, u, s], dim=1)) + s * u + torch.sigmoid(s * d)


class LFR(nn.Module):
    """Local feature refinement (LFR): the sum of the map's mean and its gate, projected."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.reduce = conv_norm_prelu(inputs, outputs, 1)
        self.mean = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.gate = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.project = nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return self.project(self.mean(x.mean(dim=(2, 3), keepdim=True)) + torch.sigmoid(self.gate(x)))


class SFU(nn.Module):
    """SFU of the released code: semantic features times a softmax over channels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.features = conv_norm_prelu(inputs, outputs, 1)
        self.weights = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) * self.weights(x).softmax(dim=1)


class GCE(nn.Module):
    """Global context enhancer (GCE): convolutions of the map's mean, added to each of its cells.

    The mean is a map of one cell, so only the centres of the kernels act; all other weights meet zero padding.
    """

    # `fold` replaces layers of these.
    embed: Any
    affine: Any
    context: Any

    def __init__(self, dim: int):
        super().__init__()
        self.embed = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.affine = ScaleBias(dim)
        self.context = nn.Sequential(nn.Conv2d(dim, dim, 7, padding=3, bias=False), NormOfOneValue(dim), nn.PReLU(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.context(self.affine(self.embed(x.mean(dim=(2, 3), keepdim=True))))

    @torch.no_grad()
    def fold(self) -> None:
        """Replace both convolutions and the affine map between them by one 1x1 convolution, exact up to rounding."""
        first, second = (c.weight[:, :, c.padding[0], c.padding[1]].double() for c in (self.embed, self.context[0]))
        folded = nn.Conv2d(first.shape[1], second.shape[0], 1).to(self.embed.weight)
        folded.weight.copy_((second * self.affine.scale @ first)[:, :, None, None])
        folded.get_parameter("bias").copy_(second @ self.affine.bias.double())
        self.embed, self.affine, self.context[0] = nn.Identity(), nn.Identity(), folded


class ScaleBias(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.bias[:, None, None]


class DecoderBlock(nn.Module):
    """A depthwise and two 1x1 convolutions, scaled by gamma and added to the input."""

    def __init__(self, dim: int, kernel: int, *, ratio: int = 4, gamma: float = 1e-6):
        super().__init__()
        self.spatial = nn.Sequential(nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim), nn.BatchNorm2d(dim))
        self.mlp = nn.Sequential(nn.Conv2d(dim, ratio * dim, 1), nn.Hardswish(), nn.Conv2d(ratio * dim, dim, 1))
        self.gamma = nn.Parameter(torch.full((dim,), gamma))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma[:, None, None] * self.mlp(self.spatial(x))


class SegHead(nn.Sequential):
    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1),
        )


def conv_norm(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def conv_norm_prelu(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """The released code's CBP."""
    return conv_norm(inputs, outputs, kernel, groups).append(nn.PReLU(outputs))


def _average(x: Tensor, window: int) -> Tensor:
    return F.avg_pool2d(x, window, stride=1, padding=window // 2)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _to_image(logits: Tensor, image: Tensor) -> Tensor:
    return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=True)
