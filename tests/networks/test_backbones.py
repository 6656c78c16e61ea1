"""Backbones, DeepLabV3+ and their checkpoints."""

import pytest
import torch
from torch import nn

from maskmill.errors import InputError
from maskmill.networks.backbones import build_backbone, freeze_batchnorm
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.networks.weights import WEIGHTS, convert, package_file
from maskmill.storage.checkpoints import load_network, save_network, save_tensors


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0", "sample_cnn"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_stages_have_the_promised_channels_and_strides(name, output_stride):
    backbone = build_backbone(name, output_stride=output_stride, dilate=True).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == backbone.channels
    assert [(64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(s, s) for s in backbone.strides]


def test_irn_removes_the_last_stride_without_dilation_and_deeplab_dilates():
    plain, dilated = build_backbone("resnet50"), build_backbone("resnet50", dilate=True)
    assert {block.conv2.dilation for block in plain.stages[4]} == {(1, 1)}
    assert dilated.stages[4][1].conv2.dilation == (2, 2)


def test_unknown_backbone_is_named():
    with pytest.raises(InputError, match="unknown backbone 'resnet5'; choose one of resnet50"):
        build_backbone("resnet5")


def test_frozen_stages_get_no_gradient_and_frozen_norms_keep_their_statistics():
    network = Classifier("sample_cnn", 20, output_stride=8, frozen_stages=2, frozen_batchnorm=True).train()
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    after = network.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    for number, stage in enumerate(network.backbone.stages):
        assert all((p.grad is None) == (number < 2) for p in stage.parameters())


def test_freeze_batchnorm_survives_train():
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    freeze_batchnorm(block)
    assert not block.train()[1].training and block[0].training


def test_cam_pools_to_the_logits():
    network = Classifier("sample_cnn", 20, output_stride=8).eval()
    with torch.no_grad():
        network.classifier.weight.abs_()
        x = torch.rand(1, 3, 32, 32)
        logits = network(x)[0] + network(x.flip(-1))[0]
        torch.testing.assert_close(network.cam(x).mean(dim=(1, 2)), logits, rtol=1e-4, atol=1e-5)


def test_deeplab_gives_logits_at_the_images_size_and_comes_back_from_its_checkpoint(tmp_path):
    network = DeepLabV3Plus("sample_cnn", 21, output_stride=8, rates=(2, 4), width=16, low_level_width=8).eval()
    x = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        logits = network(x)
        assert logits.shape == (1, 21, 33, 47)
        save_network(tmp_path / "net.safetensors", network)
        torch.testing.assert_close(load_network(tmp_path / "net.safetensors", DeepLabV3Plus)(x), logits)
    new = sum(p.numel() for p in network.new_parameters())
    old = sum(p.numel() for p in network.backbone.parameters())
    assert new + old == sum(p.numel() for p in network.parameters())


def test_deeplab_trains_on_a_single_image():
    network = DeepLabV3Plus("sample_cnn", 21, output_stride=8, rates=(2, 4), width=16, low_level_width=8).train()
    network(torch.rand(1, 3, 32, 32)).sum().backward()


def test_packaged_weights_load_and_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "efficientnet_lite0.safetensors"
    save_tensors(path, convert("efficientnet_lite0", package_file(WEIGHTS["efficientnet_lite0"])), {})
    backbone = build_backbone("efficientnet_lite0", pretrained=str(path))
    assert backbone.stages[0][0].weight.abs().sum() > 0
    with pytest.raises(InputError, match="weights do not fit"):
        build_backbone("resnet50", pretrained=str(path))
