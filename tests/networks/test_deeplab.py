"""DeepLabV3+ as MARS and CW-BASS use it."""

from pathlib import Path

import pytest
import torch
import yaml

from maskmill.evaluation.cost import macs, parameters
from maskmill.networks.deeplab import DeepLabV3Plus

CONFIG = Path(__file__).parents[2] / "config.yaml"

SMALL = {"num_classes": 3, "rates": (1, 2), "width": 16, "low_level_width": 8}


def test_dropout_of_whole_channels_behind_aspp():
    torch.manual_seed(0)
    network = DeepLabV3Plus("sample_cnn", **SMALL, dropout=(0.5, 0, 0.1), drop_channels=True).train()
    context = network.aspp(network.backbone(torch.randn(4, 3, 32, 32))[-1])
    dropped = (context == 0).flatten(2).all(dim=2).float().mean()
    assert dropped == pytest.approx(0.5, abs=0.2)
    kept = context[(context != 0).flatten(2).any(dim=2)]
    assert (kept > 0).any(dim=(1, 2)).all()


def test_without_dropout_training_passes_are_deterministic():
    network, images = DeepLabV3Plus("sample_cnn", **SMALL, dropout=(0, 0, 0)), torch.randn(2, 3, 32, 32)
    first, second = network.train()(images), network(images)
    torch.testing.assert_close(first, second)
    noisy = DeepLabV3Plus("sample_cnn", **SMALL).train()
    assert not torch.equal(noisy(images), noisy(images))


@pytest.mark.parametrize("align_corners", [False, True])
def test_enlargement_follows_align_corners(align_corners):
    """Corners of the output are the classifier's own only with aligned corners."""
    network = DeepLabV3Plus("sample_cnn", **SMALL, align_corners=align_corners).eval()
    seen = []
    network.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output))
    torch.manual_seed(1)
    logits = network(torch.randn(1, 3, 32, 32))
    expected = torch.nn.functional.interpolate(seen[0], (32, 32), mode="bilinear", align_corners=align_corners)
    torch.testing.assert_close(logits, expected)
    other = torch.nn.functional.interpolate(seen[0], (32, 32), mode="bilinear", align_corners=not align_corners)
    assert not torch.allclose(logits, other)


def test_arguments_rebuild_the_network():
    network = DeepLabV3Plus("sample_cnn", **SMALL, dropout=(0.5, 0, 0.1), drop_channels=True, align_corners=True)
    again = DeepLabV3Plus(**network.arguments)
    assert again.arguments == network.arguments and isinstance(again.aspp.project[-1], torch.nn.Dropout2d)


def test_the_classifier_has_a_bias_where_it_is_asked_for():
    torch.manual_seed(0)
    network, images = DeepLabV3Plus("sample_cnn", **SMALL, classifier_bias=True).eval(), torch.randn(1, 3, 32, 32)
    before, shift = network(images), torch.tensor([1.0, -2.0, 3.0])
    network.classifier.bias.data += shift
    torch.testing.assert_close(network(images), before + shift[:, None, None])
    assert any(parameter is network.classifier.bias for parameter in network.new_parameters())
    assert DeepLabV3Plus("sample_cnn", **SMALL).classifier.bias is None  # DHR's has none


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "millions", "gmacs"), [("resnet50", "40.352181", "74.66"), ("resnet101", "59.344309", "106.50")]
)
def test_g10_size_and_cost_of_cwbass_network(backbone, millions, gmacs):
    """Size, classifier's bias included, and cost of the released network for 21 classes and crops of 321 pixels."""
    arguments = yaml.safe_load(CONFIG.read_text())["cwbass"]["network"]
    with torch.device("meta"):
        network = DeepLabV3Plus(**arguments | {"backbone": backbone}, num_classes=21)
    assert f"{parameters(network) / 1e6:.6f}" == millions
    assert f"{macs(network, 321, 321) / 1e9:.2f}" == gmacs


def test_frozen_batch_norms_of_the_backbone_keep_their_statistics_and_the_others_learn():
    network = DeepLabV3Plus(num_classes=3, backbone="sample_cnn", rates=(1, 2), frozen_batchnorm=True).train()
    before = {name: value.clone() for name, value in network.state_dict().items() if "running_mean" in name}
    network(torch.ones(2, 3, 32, 32))
    changed = {name for name, value in network.state_dict().items() if name in before and not value.equal(before[name])}
    assert changed and changed == {name for name in before if not name.startswith("backbone.")}
