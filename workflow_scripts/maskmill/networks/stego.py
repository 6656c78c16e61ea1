"""The head that STEGO trains on frozen features (Hamilton et al., ICLR 2022)."""

from torch import Tensor, nn


class StegoHead(nn.Module):
    """A linear and a two-layer projection (1x1 convolutions), summed: in_channels -> dim at each position."""

    def __init__(self, in_channels: int, dim: int = 70):
        super().__init__()
        self.arguments = {"in_channels": in_channels, "dim": dim}
        self.linear = nn.Conv2d(in_channels, dim, 1)
        self.nonlinear = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 1), nn.ReLU(), nn.Conv2d(in_channels, dim, 1)
        )

    def forward(self, features: Tensor, nonlinear_features: Tensor | None = None) -> Tensor:
        """`nonlinear_features` feed the two-layer branch where they differ (channel dropout of its own)."""
        return self.linear(features) + self.nonlinear(features if nonlinear_features is None else nonlinear_features)
