"""GroupViT: a vision transformer that gathers patches into segments, and a text tower.

"GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. Layers, sizes and initial values are those
of the released code (NVlabs/GroupViT: `models/group_vit.py`, `models/multi_label_contrastive.py`,
`models/transformer.py`), unless a comment says otherwise.

Shapes: B images, L patches, S segments, g group tokens, D channels.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from maskmill.choices import check_choice
from maskmill.data.words import Words
from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, build_backbone

INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "released": partial(nn.init.trunc_normal_, std=0.02),
    "xavier": nn.init.xavier_uniform_,
}
ASSIGN_EPS = 1.0  # the released `assign_eps`: an empty group gives 0, one with n members n / (n + 1) of their mean


class Layer(nn.Module):
    """A pre-norm transformer layer: attention and an MLP of four times the width."""

    def __init__(self, dim: int, heads: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x [B, N, D] attends to `context` [B, N', D], or to itself."""
        query = self.norm1(x)
        key = query if context is None else self.norm1(context)
        x = x + self.drop_path(self.attn(query, key, key, need_weights=False)[0])
        return x + self.drop_path(self.mlp(self.norm2(x)))


class TokenMLP(Mlp):
    """An MLP over the token axis: [B, g, D] to [B, g', D]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class CrossAttention(nn.Module):
    """Group tokens attend to segments. There is no norm before the attention, and one behind the MLP."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.norm_post = nn.LayerNorm(dim)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Group tokens [B, g', D] and segments [B, S, D] to group tokens [B, g', D]."""
        x = query + self.attn(query, key, key, need_weights=False)[0]
        return self.norm_post(x + self.mlp(self.norm2(x)))


class Assignment(nn.Module):
    """Every segment goes to one group.

    Args:
        dim: D.
        gumbel: whether training adds Gumbel noise to the logits.
        scale: factor on the logits. GroupViT has 1; a larger one, which is ours, sharpens the maps of small networks.
    """

    def __init__(self, dim: int, *, gumbel: bool, scale: float):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.proj = (nn.Linear(dim, dim) for _ in range(4))
        self.gumbel, self.scale = gumbel, scale * dim**-0.5

    def forward(self, groups: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
        """Groups [B, g', D] and segments [B, S, D] to values of the groups [B, g', D] and the soft map without noise
        [B, g', S], whose columns sum to 1."""
        logits = self.scale * self.q_proj(groups) @ self.k_proj(segments).transpose(1, 2)
        soft = logits.softmax(dim=1)
        hard = F.gumbel_softmax(logits, hard=True, dim=1) if self.gumbel and self.training else straight_through(soft)
        weights = hard / (hard.sum(dim=2, keepdim=True) + ASSIGN_EPS)
        return self.proj(weights @ self.v_proj(segments)), soft


def straight_through(soft: Tensor) -> Tensor:
    """One-hot of the largest entry along dim 1, with the gradient of `soft`."""
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return hard - soft.detach() + soft


class GroupingBlock(nn.Module):
    """Gathers S segments into fewer ones.

    Args:
        dim: D.
        heads: of the attention from group tokens to segments; the assignment has one.
        tokens: g, number of group tokens in the input.
        groups: g', number of segments in the output.
        gumbel, assign_scale: see `Assignment`.
    """

    def __init__(
        self, dim: int, heads: int, tokens: int, groups: int, *, gumbel: bool = True, assign_scale: float = 1.0
    ):
        super().__init__()
        self.norm_tokens, self.norm_x = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp_inter = TokenMLP(tokens, dim // 2, groups)
        self.norm_post_tokens = nn.LayerNorm(dim)
        self.pre_assign_attn = CrossAttention(dim, heads)
        self.assign = Assignment(dim, gumbel=gumbel, scale=assign_scale)
        self.norm_new_x = nn.LayerNorm(dim)
        self.mlp_channels = Mlp(dim, 4 * dim)

    def forward(self, segments: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Segments [B, S, D] and group tokens [B, g, D] to new segments [B, g', D] and the soft map [B, g', S].

        The map is the one without noise, a softmax over g', so that the shares of a segment sum to 1.
        """
        segments = self.norm_x(segments)
        groups = self.norm_post_tokens(self.mlp_inter(self.norm_tokens(tokens)))
        groups = self.pre_assign_attn(groups, segments)
        values, soft = self.assign(groups, segments)
        groups = values + groups
        return groups + self.mlp_channels(self.norm_new_x(groups)), soft


class Stage(nn.Module):
    """Layers on segments and group tokens, and a grouping block behind them.

    Args:
        dim: D.
        heads: of the attention.
        drop_paths: rate of drop path for each layer.
        tokens: number of group tokens; 0 for the last stage, which has neither group tokens nor a grouping block.
        previous: number of group tokens of the stage before, from which those of this stage start; 0 for the first.
        assignment: `gumbel` and `assign_scale`, see `GroupingBlock`.
    """

    # A stage without group tokens has None for these.
    group_token: Any
    group_projector: Any
    downsample: Any

    def __init__(self, dim: int, heads: int, drop_paths: list[float], tokens: int, previous: int, **assignment: Any):
        super().__init__()
        self.blocks = nn.ModuleList(Layer(dim, heads, rate) for rate in drop_paths)
        self.group_token = nn.Parameter(torch.zeros(1, tokens, dim)) if tokens else None
        self.group_projector = (
            nn.Sequential(nn.LayerNorm(dim), TokenMLP(previous, dim // 2, tokens)) if tokens and previous else None
        )
        self.downsample = GroupingBlock(dim, heads, tokens, tokens, **assignment) if tokens else None

    def start(self, previous: Tensor) -> Tensor:
        """This stage's group tokens [B, g, D]; `previous` are those of the stage before, behind its layers."""
        return self.group_token + self.group_projector(previous)


class Segments(NamedTuple):
    """Output of the encoder, with GroupViT's numbers of segments.

    Attributes:
        features: of the segments, [B, 8, D].
        coarse, fine: soft maps of the first and of the second grouping, [B, 64, L] and [B, 8, 64].
    """

    features: Tensor
    coarse: Tensor
    fine: Tensor

    @property
    def shares(self) -> Tensor:
        """M = S1^T S2^T, the product of both soft maps S1 and S2: shares of every patch in the segments, [B, L, 8]."""
        return self.coarse.transpose(1, 2) @ self.fine.transpose(1, 2)


def group_patches(stages: Iterable[Any], norm: nn.Module, patches: Tensor, tokens: Tensor) -> Segments:
    """All that follows the layers of the first stage: both groupings, the two other stages, the last norm.

    Args:
        stages: three `Stage`s.
        norm: the last norm.
        patches, tokens: outputs of the layers of the first stage, [B, L, D] and [B, g, D].
    """
    first, second, last = stages
    x, coarse = first.downsample(patches, tokens)
    tokens = second.start(tokens)
    for layer in second.blocks:
        x, tokens = GroupViTEncoder.apply_layer(layer, x, tokens)
    x, fine = second.downsample(x, tokens)
    for layer in last.blocks:
        x = layer(x)
    return Segments(norm(x), coarse, fine)


def patch_layers(stem: str | None, width: int, patch_size: int) -> tuple[Backbone | None, nn.Conv2d]:
    """The layers that turn images into patches: the backbone `stem`, if any, and a convolution.

    Args:
        stem: name of a backbone, see `build_backbone`; None: patches of pixels.
        width: channels of the patches.
        patch_size: side of a patch in pixels.
    """
    backbone = None if stem is None else build_backbone(stem)
    channels, stride = (3, 1) if backbone is None else (backbone.channels[-1], backbone.strides[-1])
    return backbone, nn.Conv2d(channels, width, patch_size // stride, patch_size // stride)


def resized_codes(codes: Tensor, rows: int, columns: int) -> Tensor:
    """Position codes [L, D] of a square grid, resized to another grid (bicubic): [rows * columns, D]."""
    grid = math.isqrt(len(codes))
    if (rows, columns) == (grid, grid):
        return codes
    maps = codes.T.unflatten(1, (grid, grid))[None]
    return F.interpolate(maps, (rows, columns), mode="bicubic")[0].flatten(1).T


class GroupViTEncoder(nn.Module):
    """GroupViT's image encoder: patches become 64 segments, and these become 8. There is no class token.

    Args:
        image_size, patch_size: sides in pixels; other image sizes get a resized position embedding.
        stem: name of a backbone on whose last map the patches lie, for small networks from scratch; None: patches of
            pixels, as in GroupViT.
        width: D.
        heads: of the attention.
        depths: layers of the three stages.
        groups: number of group tokens, and of segments, of the first two stages.
        drop_path: rate of the last layer; rates rise linearly from 0.
        gumbel, assign_scale: see `Assignment`.
        init: of linear layers: `released`, a truncated normal of 0.02, or `xavier`, uniform. `xavier` concerns the
            projectors too, whose released start is that of torch's layers.
    """

    layers: Any  # nn.ModuleList of Stage

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        stem: str | None = None,
        width: int = 384,
        heads: int = 6,
        depths: tuple[int, int, int] = (6, 3, 3),
        groups: tuple[int, int] = (64, 8),
        drop_path: float = 0.1,
        gumbel: bool = True,
        assign_scale: float = 1.0,
        init: str = "released",
    ):
        super().__init__()
        self.width, self.patch_size, self.init = width, patch_size, init
        self.stem, self.proj = patch_layers(stem, width, patch_size)
        self.norm_patches = nn.LayerNorm(width)
        self.position = nn.Parameter(torch.zeros(1, (image_size // patch_size) ** 2, width))
        rates = torch.linspace(0, drop_path, sum(depths)).tolist()
        tokens, assignment = (*groups, 0), {"gumbel": gumbel, "assign_scale": assign_scale}
        self.layers = nn.ModuleList()
        for depth, own, previous in zip(depths, tokens, (0, *groups), strict=True):
            self.layers.append(Stage(width, heads, rates[:depth], own, previous, **assignment))
            rates = rates[depth:]
        self.norm = nn.LayerNorm(width)
        self.layers.apply(partial(_initialise, init))
        for parameter in (self.position, self.layers[0].group_token):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, pixels: Tensor) -> Segments:
        """The segments of normalised pixels [B, 3, H, W]."""
        patches, tokens = self.embed(pixels), self.group_tokens(len(pixels))
        for layer in self.layers[0].blocks:
            patches, tokens = self.apply_layer(layer, patches, tokens)
        return self.group(patches, tokens)

    def embed(self, pixels: Tensor) -> Tensor:
        """Patches with their positions, [B, L, D], row by row."""
        x = self.proj(pixels if self.stem is None else self.stem(pixels)[-1])
        return self.norm_patches(x.flatten(2).transpose(1, 2)) + resized_codes(self.position[0], *x.shape[2:])

    def group_tokens(self, batch: int) -> Tensor:
        """The learned group tokens of the first stage for `batch` images, [B, g, D]."""
        return self.layers[0].group_token.expand(batch, -1, -1)

    @staticmethod
    def apply_layer(
        layer: nn.Module, patches: Tensor, tokens: Tensor, others: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs of one layer on patches [B, L, D] and group tokens [B, g, D] together; both also attend to `others`
        [B, N, D]."""
        x = torch.cat([patches, tokens], dim=1)
        x = layer(x) if others is None else layer(x, torch.cat([x, others], dim=1))
        return x[:, : patches.shape[1]], x[:, patches.shape[1] :]

    def group(self, patches: Tensor, tokens: Tensor) -> Segments:
        """See `group_patches`."""
        return group_patches(self.layers, self.norm, patches, tokens)


class Projector(nn.Module):
    """Into the space that images and texts share: linear, batch norm, ReLU, linear.

    The release has convolutions of size 1 as linear layers; torch starts both alike.
    """

    def __init__(self, width: int, hidden: int, dim: int):
        super().__init__()
        self.hidden, self.norm, self.out = nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., width] to [..., dim]."""
        return self.out(self.norm(self.hidden(x.flatten(0, -2))).relu()).unflatten(0, x.shape[:-1])


class GroupViT(nn.Module):
    """Image encoder, text tower, and projectors into the space that they share.

    Args:
        encoder: arguments of `GroupViTEncoder`.
        text: `width`, `heads`, `layers` and `context_length` (in tokens) of the text tower, a `TextTransformer` of
            open_clip.
        hidden, dim: channels of the projectors' hidden layer and of their output.
        multi_label: whether noun prompts have a temperature of their own.
        words: vocabulary of the text tower, for small sets of captions; None: CLIP's 49,408 pieces of words.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(
        self,
        *,
        encoder: dict,
        text: dict,
        hidden: int = 4096,
        dim: int = 256,
        multi_label: bool = False,
        words: list[str] | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        # open_clip is as slow to import as torch, and ZeroSeg's network, which uses parts of this module, has no text.
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import QuickGELU, TextTransformer

        length = text["context_length"]
        self.tokenizer = SimpleTokenizer(context_length=length) if words is None else Words(words, length)
        self.encoder = GroupViTEncoder(**encoder)
        self.dim, self.patch_size = dim, self.encoder.patch_size
        self.text = TextTransformer(
            **text, vocab_size=self.tokenizer.vocab_size, act_layer=QuickGELU, proj_type="none", pool_type="argmax"
        )
        self.image_projector = Projector(self.encoder.width, hidden, dim)
        self.text_projector = Projector(text["width"], hidden, dim)
        if self.encoder.init != "released":
            for projector in (self.image_projector, self.text_projector):
                projector.apply(partial(_initialise, self.encoder.init))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.multi_label_log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07))) if multi_label else None

    @property
    def scale(self) -> Tensor:
        """s = min(exp(theta), 100), the factor on cosines in the contrastive loss, a scalar."""
        return self.log_scale.exp().clamp(max=100)

    @property
    def multi_label_scale(self) -> Tensor:
        """s of the noun prompts, a scalar; only with `multi_label`."""
        assert self.multi_label_log_scale is not None
        return self.multi_label_log_scale.exp().clamp(max=100)

    def image_vectors(self, features: Tensor) -> Tensor:
        """Features [..., D] of segments, or the mean of these, to unit vectors [..., dim]."""
        return F.normalize(self.image_projector(features), dim=-1)

    def describe(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All that zero-shot segmentation needs to know of normalised images [B, 3, H, W].

        Returns:
            Shares of the patches in the segments [B, L, 8], unit vectors of the segments [B, 8, dim] and of the images
            [B, dim].
        """
        segments = self.encoder(pixels)
        features = segments.features
        return segments.shares, self.image_vectors(features), self.image_vectors(features.mean(dim=1))

    def text_features(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] to projected, not normalised vectors [B, dim]."""
        return self.text_projector(self.text(tokens))

    def text_vectors(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] to unit vectors [B, dim]."""
        return F.normalize(self.text_features(tokens), dim=-1)


def _initialise(init: str, module: nn.Module) -> None:
    """Linear layers get weights of `INITS` and biases of 0; the patch convolution keeps torch's initial values."""
    check_choice("init", init, INITS)
    if isinstance(module, nn.MultiheadAttention):
        INITS[init](module.in_proj_weight)
    if isinstance(module, nn.Linear):
        INITS[init](module.weight)
        nn.init.zeros_(module.bias)
