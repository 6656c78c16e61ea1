"""Golden numbers: float64 runs of a public PyTorch DeepLab v2 that carries the official weights; counts: the paper."""

import pytest
import torch
from torch import nn

from fills import rule_f, rule_x
from maskmill.evaluation.cost import macs, parameters
from maskmill.networks import backbones
from maskmill.networks.deeplab_v2 import DeepLabV2, _branch
from maskmill.storage.checkpoints import load_network, save_network

ASPP_L = (6, 12, 18, 24)


def test_aspp_is_the_reference_sum_of_branches():
    aspp = rule_f(nn.ModuleList(_branch(8, 5, rate, None) for rate in ASPP_L).double())
    x = rule_x(1, 8, 9, 9)
    scores = sum(branch(x) for branch in aspp)
    values = [scores.mean(), scores.abs().mean(), scores.flatten()[0], scores.flatten()[1], scores.flatten()[-1]]
    expected = [0.1147171246, 1.6561089483, 2.2295305317, 2.3129483648, 1.8052258321]
    assert [v.item() for v in values] == pytest.approx(expected, rel=1e-9)


def test_three_scales_are_fused_as_in_the_reference(monkeypatch):
    def tiny(name, output_stride, dilate, pretrained):
        return backbones._resnet_caffe(name, output_stride, dilate, pretrained, blocks=(1, 1, 1, 1))

    monkeypatch.setattr("maskmill.networks.deeplab_v2.build_backbone", lambda name, **kw: tiny(name, **kw))
    network = DeepLabV2("resnet101_caffe", 5, rates=ASPP_L, scales=(0.5, 0.75))
    network = rule_f(network.double()).eval()
    with torch.no_grad():
        maps = network(rule_x(1, 3, 65, 65))
    assert [m.shape[-1] for m in maps] == [9, 5, 7, 9]
    fused = maps[-1]
    assert fused.shape == (1, 5, 9, 9)
    assert fused.abs().mean().item() == pytest.approx(6.873165e-06, rel=1e-6)
    assert fused.flatten()[0].item() == pytest.approx(1.138898e-05, rel=1e-6)


@pytest.mark.slow
def test_resnet_has_the_published_size_and_cost():
    single = DeepLabV2("resnet101_caffe", 21, rates=ASPP_L)
    assert parameters(single.backbone) == 42_500_160
    assert parameters(single) == 44_048_532
    assert macs(single, 513, 513) == pytest.approx(188.9e9, rel=1e-3)
    assert macs(single, 321, 321) == pytest.approx(75.1e9, rel=1e-3)
    several = DeepLabV2("resnet101_caffe", 21, rates=ASPP_L, scales=(0.5, 0.75))
    assert macs(several, 513, 513) == pytest.approx(344.9e9, rel=1e-3)
    assert macs(several, 321, 321) == pytest.approx(137.8e9, rel=1e-3)


@pytest.mark.parametrize(("rates", "count"), [((12,), 20_505_429), (ASPP_L, 37_877_652)])
def test_vgg_has_the_published_size(rates, count):
    assert parameters(DeepLabV2("vgg16", 21, rates=rates, hidden=1024)) == count


@pytest.mark.parametrize(("backbone", "hidden"), [("resnet101_caffe", None), ("vgg16_caffe", 1024)])
@pytest.mark.parametrize(("side", "cells"), [(513, 65), (321, 41)])
def test_score_maps_have_the_official_size(backbone, hidden, side, cells):
    with torch.device("meta"):
        network = DeepLabV2(backbone, 21, rates=(12,), hidden=hidden)
        assert network(torch.empty(1, 3, side, side))[-1].shape == (1, 21, cells, cells)


def test_caffe_resnet_strides_in_the_first_convolution_and_pools_to_the_ceiling():
    backbone = backbones.build_backbone("resnet101_caffe", output_stride=8)
    assert backbone.stages[0][-1].ceil_mode
    assert backbone.stages[2][0].conv1.stride == (2, 2)
    assert {block.conv2.stride for stage in backbone.stages[1:] for block in stage} == {(1, 1)}
    assert [{block.conv2.dilation[0] for block in stage} for stage in backbone.stages[1:]] == [{1}, {1}, {2}, {4}]


def test_checkpoint_gives_the_same_scores(tmp_path):
    network = DeepLabV2("sample_cnn", 4, rates=(1, 2), scales=(0.5,), frozen_batchnorm=False).eval()
    save_network(tmp_path / "network.safetensors", network)
    x = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        again = load_network(tmp_path / "network.safetensors", DeepLabV2)(x)
        for own, other in zip(network(x), again, strict=True):
            torch.testing.assert_close(own, other)
