"""Batch norm where there is one value a channel, and where its running statistics are to stay."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms normalise by their batch, but their running statistics stay."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class NormOfOneValue(nn.BatchNorm2d):
    """Batch norm of [B, C, 1, 1]. A batch of one has no variance: it is normalised by the running statistics, which
    it leaves as they are."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
