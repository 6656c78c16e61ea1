"""Batch norms: of a single value per channel, with other statistics than usual, over several devices, and fused into
convolutions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """A context in which batch norms normalise by their batch, but keep their running statistics as they are."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """A context in which batch norms in training mode normalise by their running statistics, as at inference."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


class NormOfOneValue(nn.BatchNorm2d):
    """Batch norm of [B, C, 1, 1]. A batch of one image has no variance, so the running statistics normalise it and stay
    as they are."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def share_statistics(network: nn.Module) -> None:
    """From now on, batch norms in training mode take mean and variance over the batches of all processes.

    This works on any device, unlike torch's SyncBatchNorm. Parameters, buffers and names stay. All processes must have
    the same number of images.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = _synchronised(module, module.forward)  # type: ignore[method-assign, assignment]


def _synchronised(norm: Any, inference: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A forward pass for `norm` over all processes; in evaluation mode it is `inference`."""

    def forward(x: Tensor) -> Tensor:
        if not norm.training:
            return inference(x)
        values = x.float()  # [B, C, ...]
        axes = [0, *range(2, x.dim())]
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        mean = all_reduce(values.sum(axes, keepdim=True)) / count  # [1, C, ...]
        variance = all_reduce((values - mean).square().sum(axes, keepdim=True)) / count
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean.flatten(), norm.momentum)
            norm.running_var.lerp_(variance.flatten() * count / (count - 1), norm.momentum)
        normalised = (values - mean) * torch.rsqrt(variance + norm.eps)
        weight, bias = (parameter.view_as(mean) for parameter in (norm.weight, norm.bias))
        return (normalised * weight + bias).to(x.dtype)

    return forward


@torch.no_grad()
def fuse_norms(network: nn.Module) -> int:
    """Fuse batch norms into the convolutions that they directly follow, in place.

    A run on a small image finds the pairs of convolution and norm. A norm that is also an activation (timm's) keeps the
    activation.

    Args:
        network: in evaluation mode.

    Returns:
        Number of pairs.
    """
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    latest: tuple[nn.Module, Tensor | None] = network, None

    def record(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        nonlocal latest
        previous, previous_output = latest
        if isinstance(module, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d) and inputs[0] is previous_output:
            pairs[module] = previous
        latest = module, output

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    inside = {child for norm in norms for child in norm.modules()}  # a timm norm ends with its activation's output
    layers = [module for module in network.modules() if not list(module.children()) and module not in inside]
    hooks = [module.register_forward_hook(record) for module in (*norms, *layers)]
    weight = next(network.parameters())
    network(torch.zeros(1, 3, 64, 64, dtype=weight.dtype, device=weight.device))
    for hook in hooks:
        hook.remove()
    for norm, convolution in pairs.items():
        fused = fuse_conv_bn_eval(convolution, norm)
        convolution.weight, convolution.bias = fused.weight, fused.bias
        _replace(network, norm, getattr(norm, "act", nn.Identity()))
    return len(pairs)


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
