"""What a checkpoint stores of a network's constructor."""

import inspect
import json

import pytest

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.barm import BARM
from maskmill.networks.bas import BASLocalizer, BASSeeds
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.networks.irn import IRNet
from maskmill.networks.p2at import PlainDecoder

BACKBONE = "sample_cnn"


def test_sequences_become_lists_and_the_weights_are_left_out():
    class Network:
        def __init__(self, rates, name, *, steps=((1, 2), (3,)), text=None, pretrained=None):
            self.arguments = constructor_arguments(locals())

    arguments = Network((6, 12), "tiny", text={"width": 8}, pretrained="a file").arguments
    assert arguments == {"rates": [6, 12], "name": "tiny", "steps": [[1, 2], [3]], "text": {"width": 8}}


@pytest.mark.parametrize(
    "network",
    [
        BARM(BACKBONE, [(1,), (2,)], output_stride=8, width=8),
        BASLocalizer(BACKBONE, 3, head_width=8),
        BASSeeds(BACKBONE, 3),
        Classifier(BACKBONE, 3),
        DeepLabV3Plus(BACKBONE, 3, rates=(1, 2), width=8),
        IRNet(BACKBONE, edge_width=8, displacement_widths=(8, 8, 8, 8, 8)),
        PlainDecoder(BACKBONE, 3),
    ],
    ids=lambda network: type(network).__name__,
)
def test_networks_store_their_constructors_arguments_in_its_order(network):
    parameters = [name for name in inspect.signature(type(network)).parameters if name != "pretrained"]
    assert list(network.arguments) == parameters
    assert json.loads(json.dumps(network.arguments)) == network.arguments
