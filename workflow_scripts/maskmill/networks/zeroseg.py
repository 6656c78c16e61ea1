"""ZeroSeg's network: a masked autoencoder with a second decoder that gathers patches into segments.

"Exploring Open-Vocabulary Semantic Segmentation from CLIP Vision Encoder Distillation Only", ICCV 2023. The paper gives
the masked encoder (60 % of the patches removed), fixed position codes, the depths of the two decoders, the groupings
behind the second and fourth layer, and z = MLP(mean(layer(segments))). It does not give the following, which are
reconstructed: all widths, that the segmentation head sees the visible patches only (all of them at inference), and the
two-layer projections into the teacher's space.

Shapes: B images, L patches, V visible ones, m segments, D' dimensions of the teacher's space.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import IMAGENET_MEAN, IMAGENET_STD
from maskmill.networks.group_vit import GroupViTEncoder, Stage, group_patches, patch_layers, resized_codes

NORM: Any = partial(nn.LayerNorm, eps=1e-6)  # MAE's


def position_codes(width: int, grid: int) -> Tensor:
    """MAE's fixed sine and cosine codes of a square grid's cells, float32 [grid², width]: the first half encodes the
    column, the second half the row; in each half sines come before cosines."""
    frequencies = 10000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    codes = torch.cat([line.expand(grid, -1, -1), line[:, None].expand(-1, grid, -1)], dim=2)
    return codes.flatten(0, 1).float()


def keep_patches(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """MAE's masking: the patches with the least noise stay.

    Args:
        noise: [B, L], uniform.

    Returns:
        Positions of the kept patches, int64 [B, V] with V = int(L (1 - mask_ratio)); and the place of each patch in the
        list of all kept and then all removed patches, int64 [B, L].
    """
    order = noise.argsort(dim=1)
    return order[:, : int(noise.shape[1] * (1 - mask_ratio))], order.argsort(dim=1)


def take(tokens: Tensor, positions: Tensor) -> Tensor:
    """Tokens [B, L, D] at positions [B, V]: [B, V, D]."""
    return tokens.gather(1, positions[..., None].expand(-1, -1, tokens.shape[2]))


def blank(pixels: Tensor, removed: Tensor, patch_size: int) -> Tensor:
    """Square images [B, 3, H, H] with 0, the mean colour, in the patches that `removed`, [B, L], marks with 1."""
    grid = pixels.shape[2] // patch_size
    squares = removed.unflatten(1, (1, grid, grid))
    return pixels * (1 - F.interpolate(squares, scale_factor=patch_size, mode="nearest"))


class ReconstructionHead(nn.Module):
    """MAE's decoder: from the visible patches to the pixels of all patches.

    Args:
        encoder_width: channels of the encoder.
        width, heads, depth: channels, heads of the attention and layers of the decoder.
        patch_size: side of a patch in pixels.
        grid: patches along a side.
    """

    positions: Tensor

    def __init__(self, encoder_width: int, width: int, heads: int, depth: int, patch_size: int, grid: int):
        super().__init__()
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", position_codes(width, grid), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True, norm_layer=NORM) for _ in range(depth))
        self.norm, self.pixels = NORM(width), nn.Linear(width, 3 * patch_size**2)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Class token and visible patches [B, 1 + V, D], and the place of each patch (see `keep_patches`), to pixels
        [B, L, 3 patch_size²]."""
        x = self.embed(tokens)
        removed = self.mask_token.expand(len(x), places.shape[1] + 1 - x.shape[1], -1)
        patches = take(torch.cat([x[:, 1:], removed], dim=1), places) + self.positions
        x = torch.cat([x[:, :1], patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.pixels(self.norm(x))[:, 1:]


class SegmentationHead(nn.Module):
    """A decoder with GroupViT's groupings inside. It gives segments and the image as a whole in the teacher's space.

    Args:
        encoder_width: channels of the encoder.
        width, heads: channels and heads of the attention of the decoder.
        depths: layers before the first grouping, between both, and behind the second.
        groups: number of group tokens, and of segments, of the two groupings.
        grid: patches along a side.
        dim: D'.
        assignment: `gumbel` and `assign_scale`, see `GroupingBlock`.
    """

    positions: Tensor
    stages: Any  # nn.ModuleList of Stage

    def __init__(
        self,
        encoder_width: int,
        width: int,
        heads: int,
        depths: tuple[int, int, int],
        groups: tuple[int, int],
        grid: int,
        dim: int,
        **assignment: Any,
    ):
        super().__init__()
        self.embed = nn.Linear(encoder_width, width)
        self.register_buffer("positions", position_codes(width, grid), persistent=False)
        tokens = (*groups, 0)
        self.stages = nn.ModuleList(
            Stage(width, heads, [0.0] * depth, own, previous, **assignment)
            for depth, own, previous in zip(depths, tokens, (0, *groups), strict=True)
        )
        nn.init.trunc_normal_(self.stages[0].group_token, std=0.02)
        self.norm = NORM(width)
        self.of_segments = Mlp(width, 4 * width, dim)
        self.pool = Block(width, heads, qkv_bias=True, norm_layer=NORM)
        self.of_image = Mlp(width, 4 * width, dim)

    def forward(self, patches: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encoded patches [B, V, D] and their position codes [B, V, width].

        Returns:
            g [B, m, D'] of the segments, z [B, D'] of the image (neither normalised), and the shares of every patch in
            the segments, [B, V, m].
        """
        x = self.embed(patches) + positions
        tokens = self.stages[0].group_token.expand(len(x), -1, -1)
        for layer in self.stages[0].blocks:
            x, tokens = GroupViTEncoder.apply_layer(layer, x, tokens)
        segments = group_patches(self.stages, self.norm, x, tokens)
        image = self.pool(segments.features).mean(dim=1)
        return self.of_segments(segments.features), self.of_image(image), segments.shares


class ZeroSeg(nn.Module):
    """Masked encoder, reconstruction head, segmentation head.

    Args:
        dim: D', of the teacher's vectors.
        image_size, patch_size: sides in pixels; other image sizes get resized position codes.
        stem: see `GroupViTEncoder`. The squares of removed patches are blank in its input, because its maps mix
            neighbours. None, as published: no stem.
        mask_ratio: share of the patches that training removes.
        width, heads, depth: channels, heads of the attention and layers of the encoder.
        reconstruction: `width`, `heads` and `depth` of the `ReconstructionHead`.
        segmentation: `width`, `heads`, `depths`, `groups`, `gumbel` and `assign_scale` of the `SegmentationHead`.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD
    positions: Tensor

    def __init__(
        self,
        *,
        dim: int,
        image_size: int,
        patch_size: int,
        stem: str | None,
        mask_ratio: float,
        width: int,
        heads: int,
        depth: int,
        reconstruction: dict,
        segmentation: dict,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        grid = image_size // patch_size
        self.dim, self.patch_size, self.mask_ratio, self.patches = dim, patch_size, mask_ratio, grid**2
        self.stem, self.proj = patch_layers(stem, width, patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("positions", position_codes(width, grid), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=True, norm_layer=NORM) for _ in range(depth))
        self.norm = NORM(width)
        self.reconstruction = ReconstructionHead(width, **reconstruction, patch_size=patch_size, grid=grid)
        self.segmentation = SegmentationHead(width, **segmentation, grid=grid, dim=dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.proj.weight.view(width, -1))
        for token in (self.class_token, self.reconstruction.mask_token):
            nn.init.normal_(token, std=0.02)

    def embed(self, pixels: Tensor) -> Tensor:
        """Patches with their positions, [B, L, width], row by row."""
        maps = self.proj(pixels if self.stem is None else self.stem(pixels)[-1])
        return maps.flatten(2).transpose(1, 2) + resized_codes(self.positions, *maps.shape[2:])

    def encode(self, patches: Tensor) -> Tensor:
        """Class token and patches behind the encoder, [B, 1 + V, width]."""
        x = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, pixels: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """A training pass.

        Args:
            pixels: normalised, [B, 3, image_size, image_size].
            noise: [B, L], uniform; the patches with the most noise are removed.

        Returns:
            `pixels` [B, L, 3 patch_size²], reconstructed; `removed` float [B, L], 1 for removed patches; `segments`
            [B, m, D'] and `image` [B, D'].
        """
        kept, places = keep_patches(noise, self.mask_ratio)
        removed = (places >= kept.shape[1]).float()
        visible = pixels if self.stem is None else blank(pixels, removed, self.patch_size)
        encoded = self.encode(take(self.embed(visible), kept))
        positions = self.segmentation.positions[kept]
        segments, image, _ = self.segmentation(encoded[:, 1:], positions)
        return {
            "pixels": self.reconstruction(encoded, places),
            "removed": removed,
            "segments": segments,
            "image": image,
        }

    def describe(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All that zero-shot segmentation needs to know of normalised images [B, 3, H, W], cut to whole patches.

        Returns:
            Shares of the patches in the segments [B, L, m], unit vectors of the segments [B, m, D'] and of the images
            [B, D'].
        """
        rows, columns = (length // self.patch_size for length in pixels.shape[2:])
        # Without the cut, the maps of a stem would have their sizes rounded up.
        whole = pixels[..., : rows * self.patch_size, : columns * self.patch_size]
        encoded = self.encode(self.embed(whole))
        positions = resized_codes(self.segmentation.positions, rows, columns)
        segments, image, shares = self.segmentation(encoded[:, 1:], positions.expand(len(pixels), -1, -1))
        return shares, F.normalize(segments, dim=-1), F.normalize(image, dim=-1)
