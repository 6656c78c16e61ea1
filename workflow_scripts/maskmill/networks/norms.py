"""Batch norm of one value a channel, with statistics that stay or are those of inference, over several devices; and
fused away."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms normalise by their batch, but their running statistics stay."""
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
    """Inside, batch norms that learn normalise by their running statistics, as at inference."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


class NormOfOneValue(nn.BatchNorm2d):
    """Batch norm of [B, C, 1, 1]. A batch of one has no variance: it is normalised by the running statistics, which
    it leaves as they are."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def share_statistics(network: nn.Module) -> None:
    """From now on, batch norms that learn take mean and variance over the batch of all processes.

    On any device, unlike torch's SyncBatchNorm. Parameters, buffers and names stay; every process must have as many
    images.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = _of_all_processes(module, module.forward)


def _of_all_processes(norm: _BatchNorm, alone):
    def forward(x: Tensor) -> Tensor:
        if not norm.training:
            return alone(x)
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
    """Fuse batch norms into the convolutions that they directly follow, in place; the network must be in evaluation
    mode.

    Pairs are found by running the network on a small image. A norm that also is an activation (timm's) keeps the
    activation. Returns the number of pairs.
    """
    pairs: dict[nn.BatchNorm2d, nn.Conv2d] = {}
    latest: tuple[nn.Module, Tensor | None] = network, None

    def see(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        nonlocal latest
        before, made = latest
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d) and inputs[0] is made:
            pairs[module] = before
        latest = module, output

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    inside = {child for norm in norms for child in norm.modules()}  # a timm norm ends with its activation's output
    layers = [module for module in network.modules() if not list(module.children()) and module not in inside]
    hooks = [module.register_forward_hook(see) for module in (*norms, *layers)]
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
