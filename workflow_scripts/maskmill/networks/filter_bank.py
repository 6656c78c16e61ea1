"""A fixed filter bank: features from local statistics of colour and texture, without any learning."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PERIODS = (4.0, 6.0, 9.0)  # pixels; the filters have the first period, images are reduced for the others
ORIENTATIONS = 6
WINDOWS = (2.0, 5.0)  # standard deviations of the pooling windows, pixels
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (1 / 2, -1 / 2, 0), (-1 / 4, -1 / 4, 1 / 2))  # luminance, red-green, blue-yellow

# Centre and standard deviation of the channels over the sample scenes. They make the features signed, so that cosines
# between them tell regions apart. A centre lies midway between textured backgrounds and plain objects, not at the mean:
# the mean is close to the background's own, and the mean background of MARS's Eq. 1 would then have no direction.
ENERGY = (0.030, 0.020), (0.032, 0.024), (0.028, 0.020)  # per period
LUMINANCE, COLOUR = (0.015, 0.26), (0.0, 0.13)
CONTRAST = (0.216, 0.08), (0.297, 0.08)  # per window


class FilterBank(nn.Module):
    """Oriented energies, opponent colours and contrast, averaged over windows around each position.

    Energy is the magnitude of a complex Gabor filter's response to luminance, which does not depend on the exact
    position of a texture's stripes.

    Attributes:
        channels: D.
        patch: pixels from one position of the grid to the next.
        mean, std: RGB normalisation of the input.
    """

    patch = 4
    mean = std = (0.5, 0.5, 0.5)
    even: Tensor
    odd: Tensor
    opponent: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self):
        super().__init__()
        pairs = [_gabor(PERIODS[0], math.pi * k / ORIENTATIONS) for k in range(ORIENTATIONS)]
        self.register_buffer("even", torch.stack([even for even, _ in pairs])[:, None])
        self.register_buffer("odd", torch.stack([odd for _, odd in pairs])[:, None])
        self.register_buffer("opponent", torch.tensor(OPPONENT)[:, :, None, None])
        kinds = [energy for energy in ENERGY for _ in pairs]
        for contrast in CONTRAST:
            kinds += [LUMINANCE, COLOUR, COLOUR, contrast]
        self.register_buffer("centre", torch.tensor([centre for centre, _ in kinds])[:, None, None])
        self.register_buffer("spread", torch.tensor([spread for _, spread in kinds])[:, None, None])
        self.channels = len(kinds)

    def forward(self, x: Tensor) -> Tensor:
        """x: normalised images [B, 3, H, W]. Returns [B, channels, H/patch, W/patch]."""
        colours = F.conv2d(x, self.opponent)
        luminance = colours[:, :1]
        maps = [self._energy(luminance, PERIODS[0] / period) for period in PERIODS]
        for sigma in WINDOWS:
            means = _blur(colours, sigma)
            variance = _blur(luminance**2, sigma) - means[:, :1] ** 2
            maps += [means, variance.clamp(min=0).sqrt()]
        return F.avg_pool2d((torch.cat(maps, dim=1) - self.centre) / self.spread, self.patch)

    def _energy(self, luminance: Tensor, scale: float) -> Tensor:
        """Energies [B, orientations, H, W] of stripes that have the filters' period after resizing by `scale`."""
        size = [max(1, round(side * scale)) for side in luminance.shape[2:]]
        small = F.interpolate(luminance, size, mode="bilinear", align_corners=False, antialias=True)
        energy = torch.hypot(_filter(small, self.even), _filter(small, self.odd))
        pooled = _blur(energy, WINDOWS[-1] * scale)
        return F.interpolate(pooled, luminance.shape[2:], mode="bilinear", align_corners=False)


def _gabor(period: float, angle: float) -> tuple[Tensor, Tensor]:
    """Even and odd filter [K, K] of one orientation; the response of both to constant luminance is 0."""
    radius = math.ceil(1.25 * period)
    y, x = torch.meshgrid(*[torch.arange(-radius, radius + 1.0)] * 2, indexing="ij")
    envelope = torch.exp(-(x**2 + y**2) / (2 * (0.5 * period) ** 2))
    envelope /= envelope.sum()
    phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period
    even = envelope * phase.cos()
    return even - envelope * even.sum(), envelope * phase.sin()


def _filter(maps: Tensor, kernels: Tensor) -> Tensor:
    return F.conv2d(F.pad(maps, [kernels.shape[-1] // 2] * 4, mode="replicate"), kernels)


def _blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian average of each channel."""
    radius = math.ceil(2 * sigma)
    window = torch.exp(-(torch.arange(-radius, radius + 1.0, device=maps.device) ** 2) / (2 * sigma**2))
    window = (window / window.sum()).to(maps.dtype).expand(maps.shape[1], 1, 1, -1)
    maps = F.pad(maps, [radius] * 4, mode="replicate")
    return F.conv2d(F.conv2d(maps, window, groups=len(window)), window.transpose(2, 3), groups=len(window))
