"""Frozen feature extractors, and the multi-scale embedding of an image on top of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmill.errors import InputError
from maskmill.networks.backbones import build_backbone
from maskmill.networks.filter_bank import FilterBank
from maskmill.storage.access import check_readable


class FrozenFeatures(nn.Module):
    """An extractor that never learns and stays in evaluation mode.

    Args:
        extractor: a network with the attributes below, [B, 3, H, W] to [B, channels, H/patch, W/patch].

    Attributes:
        channels: D.
        patch: pixels from one position of the grid to the next; image sides must be multiples of it.
        mean, std: RGB normalisation that the extractor expects, for images in 0..1.
    """

    def __init__(self, extractor: Any):
        super().__init__()
        self.extractor = extractor.requires_grad_(False)
        self.channels, self.patch = extractor.channels, extractor.patch
        self.mean, self.std = extractor.mean, extractor.std
        self.eval()

    def train(self, mode: bool = True) -> "FrozenFeatures":
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x: normalised images [B, 3, H, W]. Returns [B, channels, H/patch, W/patch]."""
        return self.extractor(x)


def frozen_features(name: str, pretrained: str | None = None) -> FrozenFeatures:
    """Build a frozen extractor.

    Args:
        name: `dino_vitb8` (DINO's ViT-B/8, which STEGO uses), `efficientnet_lite0` (a light replacement with
            ImageNet weights) or `filter_bank` (no weights at all).
        pretrained: safetensors file with the weights, or None for random ones.

    Raises:
        InputError: unknown name, or weights of another network.
    """
    builders: dict[str, Callable[[], nn.Module]] = {
        "dino_vitb8": lambda: DinoPatches(pretrained),
        "efficientnet_lite0": lambda: BackbonePyramid("efficientnet_lite0", pretrained),
        "filter_bank": FilterBank,
    }
    if name not in builders:
        raise InputError(f"config: unknown feature extractor {name!r}; choose one of {', '.join(builders)}")
    return FrozenFeatures(builders[name]())


class DinoPatches(nn.Module):
    """Patch tokens of DINO's ViT-B/8 (Caron et al., ICCV 2021) after the last norm: 768 at stride 8.

    timm's network would interpolate the position codes by another rule than DINO.
    """

    vit: Any

    def __init__(self, pretrained: str | None = None):
        import timm

        super().__init__()
        vit: Any = timm.create_model("vit_base_patch8_224.dino", num_classes=0, dynamic_img_size=True)
        if pretrained is not None:
            _load(vit, pretrained)
        self.vit = vit
        self.channels, self.patch = vit.embed_dim, vit.patch_embed.patch_size[0]
        self.mean, self.std = vit.pretrained_cfg["mean"], vit.pretrained_cfg["std"]

    def forward(self, x: Tensor) -> Tensor:
        patches = self.vit.patch_embed(x)  # [B, h, w, D]
        h, w = patches.shape[1:3]
        tokens = torch.cat([self.vit.cls_token.expand(len(x), -1, -1), patches.flatten(1, 2)], dim=1)
        tokens = self.vit.norm(self.vit.blocks(tokens + self.positions(h, w)))[:, 1:]  # [B, hw, D]
        return tokens.transpose(1, 2).unflatten(2, (h, w))

    def positions(self, h: int, w: int) -> Tensor:
        """Position codes of the class token and of a grid of h x w patches, [1, 1 + hw, D].

        As in the released code (`interpolate_pos_encoding` of facebookresearch/dino, which STEGO and DHR copy), those
        of another grid than the trained one are bicubic samples at steps of 28 / (h + 0.1) and 28 / (w + 0.1).
        """
        codes = self.vit.pos_embed
        side = math.isqrt(codes.shape[1] - 1)
        if (h, w) == (side, side):
            return codes
        grid = codes[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, scale_factor=((h + 0.1) / side, (w + 0.1) / side), mode="bicubic")
        return torch.cat([codes[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class BackbonePyramid(nn.Module):
    """A convolutional backbone's maps at strides 4, 8 and 16, resized to stride 8 and concatenated.

    The vectors of each stage are L2-normalised first, so that no stage outweighs another in a cosine.
    """

    def __init__(self, name: str, pretrained: str | None = None, patch: int = 8):
        super().__init__()
        self.backbone = build_backbone(name, output_stride=32, pretrained=pretrained)
        self.patch, self.mean, self.std = patch, self.backbone.mean, self.backbone.std
        self.stages = [index for index, stride in enumerate(self.backbone.strides) if 4 <= stride <= 16]
        self.channels = sum(self.backbone.channels[index] for index in self.stages)
        del self.backbone.stages[self.stages[-1] + 1 :]  # the features do not use these

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2] // self.patch, x.shape[3] // self.patch)
        maps = self.backbone(x)
        return torch.cat([F.normalize(_resize(maps[index], grid), dim=1) for index in self.stages], dim=1)


@torch.no_grad()
def multi_scale_features(
    extract: FrozenFeatures,
    head: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    scales: Sequence[float] = (2.0, 1.0, 1.5, 0.5),
    grid_scale: float = 2.0,
    flip: bool = True,
) -> Tensor:
    """Embedding of one image for MARS, averaged over scales and over the image and its mirror image.

    Args:
        extract: frozen features; `extract.patch` is the patch size.
        head: features [B, D, h, w] -> codes [B, K, h, w] (a `StegoHead`, or `nn.Identity()`).
        image: normalised float [3, H, W].
        scales: of the image's sides, whose products are rounded up to a multiple of the patch. MARS does not give them:
            these are those of `core/uss/__init__.py` in shjo-april/DHR, later code of its first author.
        grid_scale: the result has the grid of this scale. 2.0 is that of the same code; 1.0 takes a quarter of the
            storage.
        flip: average with the mirror image.

    Returns:
        float [K, h, w], where h and w are the sides of the image at `grid_scale` in patches.
    """
    height, width = image.shape[1:]
    grid = [side // extract.patch for side in _scaled(height, width, grid_scale, extract.patch)]
    total: Tensor | float = 0
    for scale in scales:
        views = _resize(image[None], _scaled(height, width, scale, extract.patch))
        if flip:
            views = torch.cat([views, views.flip(-1)])
        codes = head(extract(views))
        if flip:
            codes = torch.stack([codes[0], codes[1].flip(-1)]).mean(dim=0, keepdim=True)
        total = total + _resize(codes, grid)[0]
    return cast(Tensor, total) / len(scales)


def _scaled(height: int, width: int, scale: float, patch: int) -> tuple[int, int]:
    """Both sides times `scale`, cut to whole pixels, then rounded up to a multiple of `patch`."""
    sides = [max(math.ceil(int(side * scale) / patch), 1) * patch for side in (height, width)]
    return sides[0], sides[1]


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)


def _load(network: nn.Module, path: str) -> None:
    check_readable(path, "no such weights; run snakemake to fetch them")
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: not the weights of DINO's ViT-B/8 ({reason}); delete the file") from None
