"""MGD's networks. Golden numbers: sizes and costs measured on the released networks, and the cost ratios of the paper's
abstract."""

import pytest
import torch
from torch import nn

from maskmill.evaluation.cost import macs, parameters
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD, Pyramid, TwoBranches
from maskmill.storage.checkpoints import load_network, save_network

RELEASED = {
    "resnet18_deep": {},
    "mobilenet_v2": {"output_stride": 32, "low_level_width": 24},
    "wide_resnet50_2": {},
    "resnet101_deep": {},
}
# The released backbones carry ImageNet's classifier about, which is counted but never run.
UNUSED_CLASSIFIER = {"mobilenet_v2": 1280 * 1000 + 1000, "wide_resnet50_2": 2048 * 1000 + 1000}
SMALL = {"rates": (2, 4), "width": 16, "low_level_width": 8}


def released(backbone: str, num_classes: int = 21) -> DeepLabV3PlusMGD:
    with torch.device("meta"):
        return DeepLabV3PlusMGD(backbone, num_classes, **RELEASED[backbone])


@pytest.mark.parametrize(
    ("backbone", "total", "without_head"),
    [
        ("resnet18_deep", "16.63", "11.20"),
        ("mobilenet_v2", "7.04", "3.09"),
        ("wide_resnet50_2", "85.73", "68.88"),
        ("resnet101_deep", "59.47", "42.62"),
    ],
)
def test_networks_have_the_released_size(backbone, total, without_head):
    network, unused = released(backbone), UNUSED_CLASSIFIER.get(backbone, 0)
    assert f"{(parameters(network) + unused) / 1e6:.2f}" == total
    assert f"{(parameters(network.backbone) + unused) / 1e6:.2f}" == without_head


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "classes", "side", "total", "without_head"),
    [
        ("resnet18_deep", 21, 512, "42.47", "17.17"),
        ("mobilenet_v2", 21, 512, "22.45", "1.46"),
        ("wide_resnet50_2", 21, 512, "127.7", "90.95"),
        ("resnet101_deep", 21, 512, "95.6", "58.90"),
        ("resnet18_deep", 19, 800, "103.7", "41.9"),
        ("wide_resnet50_2", 19, 800, "311.7", "222.0"),
        ("resnet101_deep", 19, 800, "233.5", "143.8"),
    ],
)
def test_networks_cost_what_the_released_ones_cost(backbone, classes, side, total, without_head):
    network = released(backbone, classes)
    for part, expected in ((network, total), (network.backbone, without_head)):
        assert f"{macs(part, side, side) / 1e9:.{len(expected.split('.')[1])}f}" == expected


def test_teachers_cost_as_many_students_as_in_the_paper():
    cost = {name: macs(released(name).backbone, 512, 512, count_norms=True) for name in RELEASED}
    for student, deep, wide in (("resnet18_deep", "3.44", "5.30"), ("mobilenet_v2", "38.66", "59.59")):
        assert f"{cost['resnet101_deep'] / cost[student]:.2f}" == deep
        assert f"{cost['wide_resnet50_2'] / cost[student]:.2f}" == wide


def test_norms_that_are_run_cost_two_a_value():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    network[-1].never_called = nn.BatchNorm2d(4)
    assert macs(network, 5, 7) == 5 * 7 * 12
    assert macs(network, 5, 7, count_norms=True) == 5 * 7 * (12 + 2 * 4)


@pytest.mark.parametrize(("backbone", "width"), [("resnet18_deep", 256), ("mobilenet_v2", 256), ("sample_cnn", 256)])
def test_features_are_at_stride_4_and_logits_at_the_images_size(backbone, width):
    with torch.device("meta"):
        network = DeepLabV3PlusMGD(backbone, 21, **RELEASED.get(backbone, {}))
        logits, features = network(torch.empty(2, 3, 129, 65))
    assert logits.shape == (2, 21, 129, 65)
    assert features.shape == (2, width, 33, 17)


def test_logits_are_the_classified_features_with_corners_on_corners():
    network = DeepLabV3PlusMGD("sample_cnn", 5, **SMALL).eval()
    with torch.no_grad():
        logits, features = network(torch.rand(1, 3, 33, 45))
        coarse = network.classifier(features)
    torch.testing.assert_close(logits[..., ::4, ::4], coarse, rtol=1e-4, atol=1e-4)


def test_pyramid_is_one_norm_over_all_branches_plus_the_images_mean():
    pyramid = Pyramid(6, 4, (1, 2)).double().eval()
    for module in pyramid.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)

    def normed(values, norm):
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        values = scale[:, None, None] * (values - norm.running_mean[:, None, None]) + norm.bias[:, None, None]
        return torch.where(values > 0, values, 0.01 * values)

    maps = torch.cat([branch(x) for branch in pyramid.branches], dim=1)
    local = torch.einsum("oc,bchw->bohw", pyramid.project[2].weight[..., 0, 0], normed(maps, pyramid.project[0]))
    mean = torch.einsum("oc,bc->bo", pyramid.pooling[1].weight[..., 0, 0], x.mean(dim=(2, 3)))[..., None, None]
    image = torch.einsum("oc,bchw->bohw", pyramid.pooling[4].weight[..., 0, 0], normed(mean, pyramid.pooling[2]))
    torch.testing.assert_close(pyramid(x), normed(local + image, pyramid.norm[0]))
    assert maps.shape[1] == pyramid.project[0].num_features == 12
    assert all(branch.bias is None for branch in pyramid.branches)


def test_a_single_image_trains_and_leaves_the_pooled_statistics_alone():
    network = DeepLabV3PlusMGD("sample_cnn", 5, **SMALL).train()
    norm = network.pyramid.pooling[2]
    network(torch.rand(1, 3, 32, 32))[0].sum().backward()
    assert norm.running_mean.abs().sum() == 0 and norm.num_batches_tracked == 0
    assert network.pyramid.pooling[1].weight.grad.abs().sum() > 0


def test_the_pooled_norm_of_several_images_is_a_plain_batch_norm():
    pyramid, plain = Pyramid(6, 4, (1,)).train(), nn.BatchNorm2d(4).train()
    x = torch.randn(3, 4, 1, 1)
    assert torch.equal(pyramid.pooling[2](x), plain(x))
    assert torch.equal(pyramid.pooling[2].running_var, plain.running_var)
    assert torch.equal(pyramid.pooling[2].eval()(x[:1]), plain.eval()(x[:1]))


def test_checkpoint_gives_the_same_logits_and_features(tmp_path):
    network = DeepLabV3PlusMGD("sample_cnn", 5, **SMALL).eval()
    save_network(tmp_path / "network.safetensors", network)
    x = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        again = load_network(tmp_path / "network.safetensors", DeepLabV3PlusMGD)(x)
        for own, other in zip(network(x), again, strict=True):
            torch.testing.assert_close(own, other)


def test_branches_share_the_pretrained_backbone_and_differ_in_their_heads(tmp_path):
    start = DeepLabV3PlusMGD("sample_cnn", 5, **SMALL).backbone.stages
    save_network(tmp_path / "sample_cnn.safetensors", _with_arguments(start))
    two = TwoBranches("sample_cnn", 5, pretrained=str(tmp_path / "sample_cnn.safetensors"), **SMALL).eval()
    first, second = two.branches
    own, other = first.state_dict(), second.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in own if name.startswith("backbone."))
    learned = {name for name, p in first.named_parameters() if p.ndim > 1 and not name.startswith("backbone.")}
    assert all(not torch.equal(own[name], other[name]) for name in learned)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(two(x, 0)[0], first(x)[0])
        assert torch.equal(two(x, 1)[0], second(x)[0])
    save_network(tmp_path / "two.safetensors", two)
    again = load_network(tmp_path / "two.safetensors", TwoBranches)
    assert torch.equal(again.branches[1].classifier.weight, second.classifier.weight)


def _with_arguments(network: nn.Module) -> nn.Module:
    network.arguments = {}
    return network


def test_frozen_norms_of_the_backbone_keep_their_statistics_while_the_head_learns_its_own():
    network = DeepLabV3PlusMGD("sample_cnn", 5, **SMALL, frozen_batchnorm=True)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()(torch.rand(2, 3, 32, 32))
    moved = {name for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("backbone.") for name in moved)
    assert network.arguments["frozen_batchnorm"]


def test_frozen_stages_carry_no_gradient_and_the_later_ones_do():
    network = DeepLabV3PlusMGD("sample_cnn", 5, **SMALL, frozen_stages=2)
    network.train()(torch.rand(2, 3, 32, 32))[0].sum().backward()
    frozen = [parameter.grad is None for parameter in network.backbone.stages[:2].parameters()]
    assert frozen and all(frozen)
    assert all(parameter.grad is not None for parameter in network.backbone.stages[2:].parameters())
    assert network.arguments["frozen_stages"] == 2
