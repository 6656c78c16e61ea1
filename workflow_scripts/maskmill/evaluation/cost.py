"""What a network costs: parameters and multiply-accumulates."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(network: nn.Module) -> int:
    """Number of parameters, learned or frozen."""
    return sum(parameter.numel() for parameter in network.parameters())


def macs(network: nn.Module, height: int, width: int) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image of height x width.

    Counted on the meta device: nothing is computed. Norms, activations and interpolations do not count.
    """
    network = network.to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2
