"""IRNet: class boundaries and displacements from frozen features (Ahn, Cho, Kwak, CVPR 2019)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone

STRIDE = 4
COARSE_STRIDE = 8


class IRNet(nn.Module):
    """Two small branches on the five feature maps of a backbone that does not learn.

    With ResNet-50 this is the authors' network (`net/resnet50_irn.py` of jiwoon-ahn/irn). Backbones with other strides
    get the same layers: between normalisation and ReLU, a map that is coarser than the grid is upsampled (bilinear) and
    cropped as in that network, and a finer map is averaged.

    Args:
        backbone: see `build_backbone`. IRN starts from ImageNet weights. Weights of a backbone that was trained from
            scratch should be loaded from the classifier into `self.backbone`.
        edge_width: channels to which the boundary branch reduces each stage.
        displacement_widths: channels to which the displacement branch reduces each stage.
        pretrained: safetensors file with the backbone's weights; only for a new network.

    Attributes:
        mean_shift: buffer [2], subtracted from displacements in evaluation mode. After training, set it to the
            mean displacement over the training images (`network.mean_shift.copy_(mean)`).
    """

    mean_shift: Tensor

    def __init__(
        self,
        backbone: str,
        *,
        edge_width: int = 32,
        displacement_widths: Sequence[int] = (64, 128, 256, 256, 256),
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.backbone = build_backbone(backbone, pretrained=pretrained).requires_grad_(False).eval()
        channels, strides = self.backbone.channels, self.backbone.strides

        self.edge_stages = nn.ModuleList(_Project(inputs, edge_width) for inputs in channels)
        self.edge_fuse = nn.Conv2d(len(channels) * edge_width, 1, 1)

        self.displacement_stages = nn.ModuleList(map(_Project, channels, displacement_widths))
        self.fine = [number for number, stride in enumerate(strides) if stride <= STRIDE]
        self.coarse = [number for number, stride in enumerate(strides) if stride > STRIDE]
        width = displacement_widths[-1]
        self.coarse_fuse = _Project(sum(displacement_widths[number] for number in self.coarse), width)
        self.fine_fuse = _Project(sum(displacement_widths[number] for number in self.fine) + width, width)
        self.displacement = nn.Conv2d(width, 2, 1, bias=False)
        self.register_buffer("mean_shift", torch.zeros(2))

    def train(self, mode: bool = True) -> "IRNet":
        super().train(mode)
        self.backbone.eval()
        return self

    def edge_parameters(self) -> list[nn.Parameter]:
        """Parameters of the boundary branch (IRN: learning rate 0.1)."""
        return [*self.edge_stages.parameters(), *self.edge_fuse.parameters()]

    def displacement_parameters(self) -> list[nn.Parameter]:
        """Parameters of the displacement branch (IRN: ten times the boundary branch's learning rate)."""
        layers = (self.displacement_stages, self.coarse_fuse, self.fine_fuse, self.displacement)
        return [parameter for layer in layers for parameter in layer.parameters()]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Boundaries and displacements on the stride-4 grid, h = ceil(H/4), w = ceil(W/4).

        Args:
            x: normalised images [B, 3, H, W].

        Returns:
            Boundary logits [B, 1, h, w]; displacements [B, 2, h, w] as (dy, dx) in cells.
        """
        with torch.no_grad():
            maps = self.backbone(x)
        strides = self.backbone.strides
        grid, coarse_grid = _grid(x, STRIDE), _grid(x, COARSE_STRIDE)

        edges = [
            project(stage, stride / STRIDE, grid)
            for project, stage, stride in zip(self.edge_stages, maps, strides, strict=True)
        ]
        edge = self.edge_fuse(torch.cat(edges, dim=1))

        fine = [self.displacement_stages[n](maps[n], strides[n] / STRIDE, grid) for n in self.fine]
        coarse = [self.displacement_stages[n](maps[n], strides[n] / COARSE_STRIDE, coarse_grid) for n in self.coarse]
        upsampled = self.coarse_fuse(torch.cat(coarse, dim=1), COARSE_STRIDE / STRIDE, grid)
        displacement = self.displacement(self.fine_fuse(torch.cat([*fine, upsampled], dim=1), 1, grid))
        if not self.training:
            displacement = displacement - self.mean_shift.view(2, 1, 1)
        return edge, displacement


@torch.no_grad()
def edge_map(network: IRNet, image: Tensor, crop_size: int = 512) -> Tensor:
    """Class boundary probability of an image: the sigmoid of the mean logit of the image and its mirror image.

    Args:
        image: normalised, [1, 3, H, W].
        crop_size: side of the zero-padded square that enters the network, in pixels; see `pair_edge_map`.

    Returns:
        [ceil(H/4), ceil(W/4)], 0..1.
    """
    return pair_edge_map(network, torch.cat([image, image.flip(-1)]), crop_size)


def pair_edge_map(network: IRNet, pair: Tensor, crop_size: int) -> Tensor:
    """`edge_map` of an image and its mirror image, each padded on the right and below.

    A side longer than `crop_size` is padded to the next multiple of 16. (The released code cuts such an image off, by
    negative padding. Its edge map is then smaller than the maps that walk over it, and the script stops.)

    Args:
        pair: both images, normalised, [2, 3, H, W].
    """
    height, width = pair.shape[-2:]
    right, below = _padded(width, crop_size) - width, _padded(height, crop_size) - height
    edge, _ = network(F.pad(pair, (0, right, 0, below)))
    rows, columns = _grid(pair, STRIDE)
    edge = edge[:, 0, :rows, :columns]
    return ((edge[0] + edge[1].flip(-1)) / 2).sigmoid()


class _Project(nn.Module):
    """1x1 convolution, group norm, resizing by `factor` to `grid`, ReLU."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm = nn.GroupNorm(min(16, width // 8), width)

    def forward(self, x: Tensor, factor: float, grid: tuple[int, int]) -> Tensor:
        x = self.norm(self.convolution(x))
        if factor > 1:
            x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        elif factor < 1:
            x = F.avg_pool2d(x, round(1 / factor), ceil_mode=True)
        return F.relu(x[..., : grid[0], : grid[1]])


def _grid(x: Tensor, stride: int) -> tuple[int, int]:
    return -(-x.shape[-2] // stride), -(-x.shape[-1] // stride)


def _padded(length: int, crop_size: int) -> int:
    return max(crop_size, -(-length // 16) * 16)
