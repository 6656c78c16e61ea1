"""Batch norms' running statistics."""

import pytest
import torch
from torch import nn

from maskmill.networks.norms import running_statistics, still_statistics


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


def test_running_statistics_are_those_of_inference_and_stay():
    torch.manual_seed(0)
    network, features = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.rand(7, 3)
    network(features)
    before, expected = network[1].running_mean.clone(), network.eval()(features)
    network.train()
    with running_statistics(network):
        torch.testing.assert_close(network(features), expected)
    assert torch.equal(network[1].running_mean, before) and network[1].training
    assert not torch.allclose(network(features), expected)
