"""Backbones, DeepLabV3+ and their checkpoints."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from maskmill.errors import InputError
from maskmill.evaluation.cost import parameters
from maskmill.networks.backbones import SAMPLE_CNNS, build_backbone, freeze_batchnorm
from maskmill.networks.classifier import Classifier
from maskmill.networks.deeplab import DeepLabV3Plus
from maskmill.networks.deeplab_v2 import DeepLabV2
from maskmill.networks.weights import WEIGHTS, convert, package_file
from maskmill.storage.checkpoints import load_network, save_network, save_tensors

EITHER = ["resnet50", "efficientnet_lite0", "efficientnet_lite0_light", *SAMPLE_CNNS]
COARSE = ["resnet18_deep", "resnet101_deep", "wide_resnet50_2", "mobilenet_v2"]


@pytest.mark.parametrize(
    ("name", "output_stride"),
    [(name, stride) for name in EITHER for stride in (8, 16)]
    + [(name, stride) for name in COARSE for stride in (16, 32)],
)
def test_stages_have_the_promised_channels_and_strides(name, output_stride):
    with torch.device("meta"):
        backbone = build_backbone(name, output_stride=output_stride, dilate=True)
        maps = backbone(torch.empty(1, 3, 64, 96))
    assert len(maps) == 5 and 4 in backbone.strides
    assert name in SAMPLE_CNNS or backbone.strides[-1] == min(output_stride, 16 if "light" in name else 32)
    assert [m.shape[1] for m in maps] == backbone.channels
    assert [(64 // m.shape[2], 96 // m.shape[3]) for m in maps] == [(s, s) for s in backbone.strides]


def test_irn_removes_the_last_stride_without_dilation_and_deeplab_dilates():
    plain, dilated = build_backbone("resnet50"), build_backbone("resnet50", dilate=True)
    assert {block.conv2.dilation for block in plain.stages[4]} == {(1, 1)}
    assert dilated.stages[4][1].conv2.dilation == (2, 2)


def reference_stage(x, state, blocks, stride, first, dilation):
    """A layer of bottlenecks in plain functions. first, dilation: of the first block and of the others."""

    def norm(x, name):
        values = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *values)

    for number in range(blocks):
        d, s = (dilation, 1) if number else (first, stride)
        y = functional.conv2d(x, state[f"{number}.conv1.weight"])
        y = functional.conv2d(norm(y, f"{number}.bn1").relu(), state[f"{number}.conv2.weight"], None, s, d, d)
        y = functional.conv2d(norm(y, f"{number}.bn2").relu(), state[f"{number}.conv3.weight"])
        if not number:
            x = norm(functional.conv2d(x, state["0.downsample.0.weight"], None, s), "0.downsample.1")
        x = (norm(y, f"{number}.bn3") + x).relu()
    return x


@pytest.mark.parametrize(
    ("dilate", "firsts"), [("torchvision", (1, 2)), ("all_but_first", (1, 1)), ("all", (2, 4)), (True, (1, 2))]
)
def test_first_blocks_of_dilated_layers_follow_the_rule(dilate, firsts):
    """RS+EPM's and DHR's `ResNet._make_layer` does not dilate them, Caffe's DeepLab dilates them as all others."""
    torch.manual_seed(0)
    backbone = build_backbone("resnet50", output_stride=8, dilate=dilate).double().eval()
    for name, value in backbone.state_dict().items():
        if value.dim() == 1:  # norms, whose weights are zero at the end of a block
            value.uniform_(0.5, 1.5) if name.endswith(("weight", "var")) else value.normal_(std=0.1)
    x = torch.randn(1, 3, 97, 65, dtype=torch.float64)
    with torch.no_grad():
        *_, second, third, fourth = backbone(x)
        states = [backbone.stages[number].state_dict() for number in (3, 4)]
        expected = reference_stage(second, states[0], 6, 1, firsts[0], 2)
        torch.testing.assert_close(third, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            fourth, reference_stage(third, states[1], 3, 1, firsts[1], 4), rtol=1e-10, atol=1e-10
        )
        other = reference_stage(third, states[1], 3, 1, 3 - firsts[1] if firsts[1] < 4 else 2, 4)
    assert (other - fourth).norm() > 0.02 * fourth.norm()


@pytest.mark.parametrize("network", [DeepLabV3Plus, DeepLabV2])
@pytest.mark.parametrize(("dilate", "first"), [("torchvision", 2), ("all_but_first", 1), ("all", 4)])
def test_segmentation_networks_hand_the_rule_on_and_store_it(network, dilate, first):
    with torch.device("meta"):
        built = network("resnet50", 3, rates=(2,), dilate=dilate)
        again = network(**built.arguments)
        caffe = DeepLabV2("resnet101_caffe", 3, rates=(2,), dilate=dilate)
    for one in (built, again):
        assert [block.conv2.dilation[0] for block in one.backbone.stages[4]] == [first, 4, 4]
    assert {block.conv2.dilation[0] for block in caffe.backbone.stages[4]} == {4}


def test_an_unknown_rule_of_dilation_is_named():
    with pytest.raises(InputError, match="dilate 'some' of resnet50; choose one of torchvision, all_but_first, all"):
        build_backbone("resnet50", dilate="some")


@pytest.mark.parametrize(("name", "dilations"), [("resnet18_deep", [2, 4]), ("wide_resnet50_2", [2, 4, 8])])
def test_mgd_dilates_all_3x3_convolutions_of_the_last_stage_block_by_block(name, dilations):
    with torch.device("meta"):
        backbone = build_backbone(name, output_stride=16)
    for block, dilation in zip(backbone.stages[4], dilations, strict=True):
        convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
        assert {c.dilation[0] for c in convolutions if c.kernel_size == (3, 3)} == {dilation}
        assert {c.stride for c in convolutions} == {(1, 1)}
    assert {m.dilation for m in backbone.stages[3].modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize(("output_stride", "stride"), [(32, 2), (16, 1)])
def test_mobilenet_dilates_behind_block_14_which_keeps_its_stride_as_released(output_stride, stride):
    with torch.device("meta"):
        backbone = build_backbone("mobilenet_v2", output_stride=output_stride)
    depthwise = [next(m for m in block.modules() if getattr(m, "groups", 1) > 1) for block in backbone.stages[4]]
    assert [c.stride[0] for c in depthwise] == [stride, 1, 1, 1]
    assert [c.dilation[0] for c in depthwise] == [1, 2, 4, 8]


@pytest.mark.parametrize("name", COARSE)
def test_mgds_backbones_have_no_output_stride_8(name):
    with pytest.raises(InputError, match=f"output_stride 8 of {name}; it has 16 or 32"):
        build_backbone(name, output_stride=8)


def test_sample_networks_are_deep_wide_and_light():
    sizes = {name: parameters(build_backbone(name)) for name in SAMPLE_CNNS}
    assert sizes["sample_cnn_slim_wide"] == pytest.approx(4 * sizes["sample_cnn_slim"], rel=0.1)
    assert sizes["sample_cnn_light"] == pytest.approx(sizes["sample_cnn"] / 3, rel=0.05)
    assert sizes["sample_cnn_slim"] < sizes["sample_cnn"] / 5
    layers = {name: sum(isinstance(m, nn.Conv2d) for m in build_backbone(name).modules()) for name in SAMPLE_CNNS}
    assert layers["sample_cnn_deep"] == 3 * layers["sample_cnn"]
    assert layers["sample_cnn_slim_deep"] > 2 * layers["sample_cnn_slim"]


def test_added_depth_changes_nothing_at_first():
    torch.manual_seed(0)
    network, x = build_backbone("sample_cnn_slim_deep").eval(), torch.rand(1, 3, 32, 32)
    for stage in network.stages:
        shallow = stage[:-1](x)
        x = stage(x)
        assert x.equal(shallow)


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


def test_light_efficientnet_is_the_other_ones_first_blocks(tmp_path):
    path = tmp_path / "efficientnet_lite0.safetensors"
    save_tensors(path, convert("efficientnet_lite0", package_file(WEIGHTS["efficientnet_lite0"])), {})
    whole = build_backbone("efficientnet_lite0", pretrained=str(path)).eval()
    light = build_backbone("efficientnet_lite0_light", pretrained=str(path)).eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(light(x)[-1], whole(x)[3])


def random_file(path, network: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of a network of this shape, all different from what any network starts with, and saved."""
    tensors = {name: torch.rand(t.shape) if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_tensors(path, tensors, {})
    return tensors


@pytest.mark.slow
def test_torchvisions_weights_fit_wide_resnet_and_mobilenet(tmp_path):
    path = tmp_path / "weights.safetensors"
    tensors = random_file(path, torchvision.models.wide_resnet50_2())
    backbone = build_backbone("wide_resnet50_2", pretrained=str(path))
    assert torch.equal(backbone.stages[0][0].weight, tensors["conv1.weight"])
    assert torch.equal(backbone.stages[4][2].conv2.weight, tensors["layer4.2.conv2.weight"])

    tensors = random_file(path, torchvision.models.mobilenet_v2())
    backbone = build_backbone("mobilenet_v2", output_stride=32, pretrained=str(path))
    assert torch.equal(backbone.stages[0][0][0].weight, tensors["features.0.0.weight"])
    assert torch.equal(backbone.stages[4][3].conv[2].weight, tensors["features.17.conv.2.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet101"])
def test_deep_stems_stay_random_where_the_file_has_a_plain_one(tmp_path, name):
    tensors = random_file(tmp_path / "plain.safetensors", getattr(torchvision.models, name)())
    backbone = build_backbone(f"{name}_deep", pretrained=str(tmp_path / "plain.safetensors"))
    assert torch.equal(backbone.stages[1][1].conv1.weight, tensors["layer1.1.conv1.weight"])
    assert torch.equal(backbone.stages[1][0].bn2.weight, tensors["layer1.0.bn2.weight"])
    assert torch.equal(backbone.stages[4][0].downsample[0].weight, tensors["layer4.0.downsample.0.weight"])
    assert backbone.stages[0][0][6].weight.min() < 0  # the file has positive values only
    # The norm behind the stem is as wide in ResNet-18, and named alike: the released code loads it.
    assert torch.equal(backbone.stages[0][1].weight, tensors["bn1.weight"]) == (name == "resnet18")


def test_resnet18s_random_stem_has_torchs_initial_values_and_resnet101s_has_torchvisions():
    """Torch draws from U(-b, b) with b = 1 / sqrt(fan in); torchvision's normal values exceed any such bound."""
    torch.manual_seed(0)
    light, deep = (build_backbone(f"{name}_deep").stages[0][0] for name in ("resnet18", "resnet101"))
    for number, fan_in, channels in ((0, 27, 64), (3, 288, 64), (6, 288, 128)):
        bound = fan_in**-0.5
        assert 0.98 * bound < light[number].weight.abs().max() <= bound
        assert light[number].weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert deep[number].weight.std().item() == pytest.approx((2 / (9 * channels)) ** 0.5, rel=0.05)


@pytest.mark.slow
def test_weights_of_a_deep_stem_are_loaded_whole(tmp_path):
    source = build_backbone("resnet101_deep")
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    network = nn.Sequential()
    for key, module in zip(names, (*source.stages[0], *source.stages[1:]), strict=True):
        network.add_module(key, module)
    tensors = random_file(tmp_path / "deep.safetensors", network)
    backbone = build_backbone("resnet101_deep", pretrained=str(tmp_path / "deep.safetensors"))
    assert torch.equal(backbone.stages[0][0][0].weight, tensors["conv1.0.weight"])
    assert torch.equal(backbone.stages[1][0].conv1.weight, tensors["layer1.0.conv1.weight"])


def test_weights_of_another_depth_are_refused_by_deep_stems_too(tmp_path):
    random_file(tmp_path / "resnet34.safetensors", torchvision.models.resnet34())
    with pytest.raises(InputError, match="weights do not fit ResNet"):
        build_backbone("resnet18_deep", pretrained=str(tmp_path / "resnet34.safetensors"))
