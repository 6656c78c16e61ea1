"""Counts over all devices of a training, so that several devices learn what one would from the same batch."""

import torch.distributed
from torch import Tensor


def summed(values: Tensor) -> Tensor:
    """The sum over all devices, without a gradient; the values themselves where there is one device.

    All devices must call this equally often.
    """
    if not torch.distributed.is_initialized():
        return values
    values = values.detach().clone()
    torch.distributed.all_reduce(values)
    return values


def divisor(count: Tensor, least: float = 1) -> Tensor:
    """What a device divides a sum over its part of the batch by, to get its part of the mean over the whole batch.

    This is the count over all devices, at least `least`, divided by the number of devices: training averages their
    gradients. With one device it is max(count, least).

    Args:
        count: number of pixels, or sum of weights, in the device's part of the batch; a scalar.
    """
    total = summed(count).clamp(min=least)
    return total / torch.distributed.get_world_size() if torch.distributed.is_initialized() else total
