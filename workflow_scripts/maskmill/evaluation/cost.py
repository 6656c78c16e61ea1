"""The cost of a network: parameters and multiply-accumulates; and the name of the device for latencies."""

from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """Number of parameters, trainable or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, height: int, width: int, *, count_norms: bool = False) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image of height x width.

    The network is moved to the meta device and stays there, so that nothing is computed. Activations and interpolations
    do not count.

    Args:
        network: takes images [1, 3, height, width]; its output may be of any type.
        count_norms: add two for each value that a batch norm returns, as the counter `thop` does; so
            counted, MGD's networks have the FLOP ratios that its abstract states.
    """
    network = network.to("meta").eval()
    normalised = 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal normalised
        normalised += output.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, _BatchNorm)]
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.empty(1, 3, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() // 2 + (2 * normalised if count_norms else 0)


def device_name(gpu: bool) -> str:
    """Model name of this machine's GPU, or of its CPU (from Linux' /proc/cpuinfo; elsewhere "CPU")."""
    if gpu:
        return torch.cuda.get_device_name()
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line for line in lines if line.startswith("model name")]
    return models[0].split(":")[1].strip() if models else "CPU"
