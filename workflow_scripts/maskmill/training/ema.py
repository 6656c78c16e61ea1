"""Exponential moving average of a network: the teacher of self-training methods."""

import copy
import math

import torch
from torch import nn


class EMA:
    """A frozen copy of a network that follows it: theta' <- d theta' + (1 - d) theta.

    Args:
        network: copied at once, so build the EMA before training starts.
        decay: final d.
        ramp: iterations over which d rises to `decay`, d_t = decay (1 - exp(-t / ramp)) (the RS+EPM code, with decay
            0.9999 and ramp 2000); 0 keeps d constant (MARS's student, decay 0.999).
        warm_up: whether d_t = min(decay, 1 - 1 / t): until d reaches `decay`, the copy is the mean of all weights so
            far (CW-BASS's second release, decay 0.996).
        buffers: how running statistics follow: `averaged`, like parameters, or `copied` (CW-BASS's first release).
    """

    def __init__(
        self, network: nn.Module, *, decay: float, ramp: float = 0, warm_up: bool = False, buffers: str = "averaged"
    ):
        if buffers not in ("averaged", "copied"):
            raise ValueError(f"buffers is {buffers!r}; choose averaged or copied")
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.ramp, self.warm_up, self.buffers = decay, ramp, warm_up, buffers

    def decay_at(self, iteration: int) -> float:
        """d of the update after iteration `iteration`, counted from 1."""
        if self.warm_up:
            return min(self.decay, 1 - 1 / iteration)
        if not self.ramp:
            return self.decay
        return self.decay * (1 - math.exp(-iteration / self.ramp))

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """Follow `network`, of the same architecture, after an iteration, counted from 1. Counters are copied."""
        decay = self.decay_at(iteration)
        own = self.module.state_dict()
        copied = {name for name, _ in network.named_buffers()} if self.buffers == "copied" else ()
        for name, value in network.state_dict().items():
            if value.is_floating_point() and name not in copied:
                own[name].lerp_(value.to(own[name].dtype), 1 - decay)
            else:
                own[name].copy_(value)
