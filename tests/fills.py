"""Inputs and parameters of the reference runs, and the digest that their arrays are compared by."""

import hashlib

import numpy as np
import torch
from torch import Tensor, nn


def rule_x(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """cos(0.11 n), n = 1, 2, ... in row-major order."""
    return torch.cos(0.11 * _count(shape)).to(dtype)


def rule_f(network: nn.Module) -> nn.Module:
    """Weights sin(0.37 n) sqrt(2 / fan_in); norms reset."""
    return _fill(network, lambda n: torch.sin(0.37 * n))


def rule_q(network: nn.Module) -> nn.Module:
    """Weights pseudo-random, variance 2 / fan_in; norms reset, but 0.25 at the end of ResNet bottlenecks."""

    def pseudo_random(n: Tensor) -> Tensor:
        n = n.long()  # float64 does not hold 31 n^2 of the largest tensors
        return 12**0.5 * (((31 * n**2 + 17 * n) % 10007 + 0.5).double() / 10007 - 0.5)

    network = _fill(network, pseudo_random)
    for name, parameter in network.named_parameters():
        if name.endswith("bn3.weight"):
            parameter.data.fill_(0.25)
    return network


def digest(array: np.ndarray, dtype: str = "<i8") -> str:
    """First 16 hex digits of the SHA-256 of the array's C-order bytes as `dtype`."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype=dtype).tobytes()).hexdigest()[:16]


def _count(shape) -> Tensor:
    return torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float64).view(*shape)


def _fill(network: nn.Module, weight) -> nn.Module:
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:
            values = weight(_count(parameter.shape)) * (2 / parameter[0].numel()) ** 0.5
            parameter.data = values.to(parameter.dtype)
        else:
            parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.fill_(1.0 if name.endswith("var") else 0.0)
    return network
