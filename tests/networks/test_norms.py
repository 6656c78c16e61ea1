"""Batch norms' running statistics."""

import pytest
import torch
from torch import nn

from maskmill.networks.norms import still_statistics


@pytest.mark.parametrize(
    "layers, shape",
    [
        ((nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3)), (2, 3, 5, 5)),
        ((nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3)), (7, 3)),
    ],
)
def test_still_statistics_stay_and_follow_again_afterwards(layers, shape):
    torch.manual_seed(0)
    network, images = nn.Sequential(*layers), torch.rand(shape)
    expected = network(images)
    before = network[1].running_mean.clone()
    with still_statistics(network):
        inside = network(images)
    torch.testing.assert_close(inside, expected, msg="normalised by the batch, inside too")
    assert torch.equal(network[1].running_mean, before)
    network(images + 1)
    assert network[1].momentum == 0.3 and not torch.equal(network[1].running_mean, before)
