"""The head that STEGO trains on frozen features (Hamilton et al., ICLR 2022)."""

from torch import Tensor, nn

from maskmill.networks.arguments import constructor_arguments


class StegoHead(nn.Module):
    """The sum of a linear and a two-layer projection, both of 1x1 convolutions.

    Args:
        in_channels: D, of the features.
        dim: K, of the codes.
    """

    def __init__(self, in_channels: int, dim: int = 70):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.linear = nn.Conv2d(in_channels, dim, 1)
        self.nonlinear = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 1), nn.ReLU(), nn.Conv2d(in_channels, dim, 1)
        )

    def forward(self, features: Tensor, nonlinear_features: Tensor | None = None) -> Tensor:
        """Codes [B, dim, h, w] of features [B, in_channels, h, w].

        Args:
            nonlinear_features: input of the two-layer branch, where channel dropout makes it another one; None: the
                same features.
        """
        return self.linear(features) + self.nonlinear(features if nonlinear_features is None else nonlinear_features)
