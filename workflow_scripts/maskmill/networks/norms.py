"""Batch norm where there is one value a channel."""

from torch import Tensor, nn
from torch.nn import functional as F


class NormOfOneValue(nn.BatchNorm2d):
    """Batch norm of [B, C, 1, 1]. A batch of one has no variance: it is normalised by the running statistics, which
    it leaves as they are."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
