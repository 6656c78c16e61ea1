"""P2AT's network. Golden numbers: outputs of the released code (mohamedac29/P2AT) for weights and inputs from formulas,
in float64, and the sizes of its networks."""

import pytest
import torch
from torch import nn

from fills import rule_x
from maskmill.errors import InputError
from maskmill.evaluation.cost import macs, parameters
from maskmill.networks.backbones import build_backbone
from maskmill.networks.deploy import deployed
from maskmill.networks.p2at import (
    GCE,
    LFR,
    MLP,
    P2AT,
    SFU,
    SSA,
    BiF,
    DecoderBlock,
    LocalFeatures,
    PlainDecoder,
    PyramidAxialAttention,
    PyramidPooling,
    ScaleBias,
    SegHead,
)
from maskmill.networks.segmentation import load_segmentation
from maskmill.storage.checkpoints import save_network

X = (1, 8, 6, 7)


def filled(network: nn.Module) -> nn.Module:
    """Rule F for P2AT: weights sin(0.37 n) sqrt(2 / fan_in), biases 0, gamma 0.5, norms and PReLU as they start."""
    network = network.double().eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:
            count = torch.arange(1, parameter.numel() + 1, dtype=torch.float64).view(parameter.shape)
            parameter.data = torch.sin(0.37 * count) * (2 / parameter[0].numel()) ** 0.5
        elif name.endswith("gamma"):
            parameter.data.fill_(0.5)
        elif name.endswith("bias"):
            parameter.data.fill_(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return network


def randomised(network: nn.Module) -> nn.Module:
    """Statistics and affine parameters as training leaves them: of all sizes."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
        elif isinstance(module, ScaleBias):
            nn.init.uniform_(module.scale, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
        elif isinstance(module, DecoderBlock):
            nn.init.uniform_(module.gamma, -1, 1)
    return network.eval()


@pytest.mark.parametrize(
    ("build", "shapes", "mean", "magnitude", "first", "last"),
    [
        (lambda: PyramidPooling(8), [X], 0.0090118807, 0.0211659267, 3.0232609e-05, -0.0025820878),
        (lambda: LocalFeatures(8, 8), [X], 0.0117057332, 0.8931019473, 0.4762480392, -0.5218008292),
        (lambda: PyramidAxialAttention(8, 4, 2, 2), [X], 0.0006833746, 0.0077291856, -0.0041831306, -0.0099413910),
        (lambda: MLP(8, 32), [X], 0.0450165506, 0.8069216850, -1.2483289378, -0.6590665061),
        (lambda: SSA(8, key_dim=4, heads=2), [X], -0.1385872582, 3.1861556277, -1.1655333862, -0.4161497864),
        (lambda: LFR(6, 8), [(1, 6, 10, 12)], 0.0884739518, 0.8866108822, 1.4086624018, -0.1306591440),
        (lambda: SFU(8, 8), [(1, 8, 5, 6)], 0.0076173570, 0.0112066246, 0.0064392196, -0.0066387275),
        (
            lambda: BiF(6, 10, 8, 8),
            [(1, 6, 10, 12), (1, 10, 5, 6), (1, 8, 3, 3)],
            0.4779520243,
            0.4779520243,
            0.5571699797,
            0.3298306088,
        ),
        (lambda: GCE(8), [X], -0.0181657008, 0.6307682368, 0.9937089871, 0.7397159258),
        (lambda: DecoderBlock(8, 3), [X], -0.0162360841, 0.6336674759, 0.9962411195, 0.7466785434),
        (lambda: DecoderBlock(8, 5), [X], -0.0148552871, 0.6303193365, 0.9375099352, 0.7118176376),
        (lambda: DecoderBlock(8, 7), [X], -0.0166965784, 0.6323129253, 0.9886889647, 0.7389616965),
        (lambda: SegHead(8, 8, 5), [X], 0.1357389795, 0.7275090111, 0.4142000754, 0.2380448010),
    ],
    ids=["P2", "LFI", "P2A2", "Mlp", "SSA", "LFR", "SFU", "BiF", "GCE", "k3", "k5", "k7", "SegHead"],
)
def test_modules_give_what_the_released_ones_give(build, shapes, mean, magnitude, first, last):
    with torch.no_grad():
        y = filled(build())(*(rule_x(*shape) for shape in shapes))
    values = [y.mean(), y.abs().mean(), y.flatten()[0], y.flatten()[-1]]
    golden = torch.tensor([mean, magnitude, first, last], dtype=torch.float64)
    torch.testing.assert_close(torch.stack(values), golden, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("backbone", "first", "second"),
    [
        ("resnet18", 0.0145913072, 0.0142602541),
        ("resnet34", 0.0145929330, 0.0142558358),
        ("resnet50", 0.0145496412, 0.0146743688),
    ],
)
def test_networks_give_the_released_ones_auxiliary_logits(backbone, first, second):
    network, seen = filled(P2AT(backbone, 11)), []
    for fuse, head in zip((network.fuse2, network.fuse3), network.auxiliary, strict=True):
        fuse.register_forward_hook(lambda module, inputs, output, head=head: seen.append(head(output)))
    with torch.no_grad():
        network(rule_x(1, 3, 64, 96))
        shown = [nn.functional.interpolate(y, (64, 96), mode="bilinear", align_corners=True).abs().mean() for y in seen]
    golden = torch.tensor([first, second], dtype=torch.float64)
    torch.testing.assert_close(torch.stack(shown), golden, rtol=0, atol=6e-11)


def sized(backbone: str, classes: int, auxiliary: str = "none") -> P2AT:
    with torch.device("meta"):
        return P2AT(backbone, classes, auxiliary=auxiliary)


@pytest.mark.parametrize(
    ("backbone", "inference", "training", "camvid"),
    [
        ("resnet18", 12_736_019, 12_812_729, 12_735_499),
        ("resnet34", 22_844_179, 22_920_889, 22_843_659),
        ("resnet50", 25_276_435, 25_353_145, 25_275_915),
    ],
)
def test_networks_have_the_released_number_of_parameters(backbone, inference, training, camvid):
    assert parameters(sized(backbone, 19)) == inference
    assert parameters(sized(backbone, 19, "semantic")) == training
    assert parameters(sized(backbone, 11)) == camvid


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "published"),
    [
        ("resnet18", ("42.1", "31.9", "127.4")),
        ("resnet34", ("67.7", "51.2", "204.8")),
        ("resnet50", ("75.0", "56.7", "227.0")),
    ],
)
def test_networks_cost_the_published_multiply_adds(backbone, published):
    """The published counter, fvcore, adds two for a value of a norm, four for one of a bilinear interpolation and one
    for one that goes into a map's mean; and the released LFR projects the mean at every cell, ours once."""
    for (height, width), expected in zip(((720, 960), (512, 1024), (1024, 2048)), published, strict=True):
        cells4, cells8 = height * width // 16, height * width // 64
        interpolated = 19 * height * width + 64 * (2 + 2) * cells4 + 64 * 2 * cells8
        averaged, projected = 2 * 64 * (cells4 + cells8), 64 * 64 * (cells4 + cells8 - 2)
        total = macs(sized(backbone, 19), height, width, count_norms=True) + 4 * interpolated + averaged + projected
        assert f"{total / 1e9:.1f}" == expected


def test_official_pooling_forgets_the_second_average_and_the_intended_one_does_not():
    x, pooled = rule_x(*X), {}
    for choice in ("official", "intended"):
        pooling = filled(PyramidPooling(8, p2_concat=choice))
        taken = []
        pooling.mix.register_forward_hook(lambda module, inputs, output, taken=taken: taken.append(inputs[0]))
        with torch.no_grad():
            pooling(x)
            first = nn.functional.avg_pool2d(pooling.reduce(x), 3, 1, 1)
        second = nn.functional.avg_pool2d(first, 5, 1, 2)
        middle = first if choice == "official" else second
        assert torch.equal(taken[0], torch.cat([first, middle, nn.functional.avg_pool2d(second, 7, 1, 3)], dim=1))
        pooled[choice] = taken[0]
    assert not torch.equal(pooled["official"], pooled["intended"])


def test_official_columns_are_projected_bare_and_intended_ones_as_rows_are():
    official = PyramidAxialAttention(8, 4, 2, 2)
    intended = PyramidAxialAttention(8, 4, 2, 2, column_projection="intended")
    assert isinstance(official.column, nn.Conv2d)
    assert [type(m) for m in intended.row] == [nn.Conv2d, nn.BatchNorm2d, nn.PReLU]
    assert [type(m) for m in intended.column] == [type(m) for m in intended.row]
    x = rule_x(*X)
    with torch.no_grad():
        assert not torch.equal(filled(official)(x), filled(intended)(x))


@pytest.mark.parametrize("switch", ["p2_concat", "column_projection"])
def test_unknown_values_of_a_switch_are_refused(switch):
    with pytest.raises(ValueError, match="choose one of official, intended"):
        P2AT("sample_cnn_light", 5, **{switch: "fixed"})


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_contexts_and_norms_change_nothing(dtype):
    network = randomised(P2AT("resnet18", 11)).to(dtype)
    x = torch.randn(1, 3, 75, 100, dtype=dtype)
    with torch.no_grad():
        expected = network(x)
        for options in ({"fuse": False}, {}):
            torch.testing.assert_close(deployed(network, **options)(x), expected, rtol=0, atol=1e-6)
    assert expected.abs().max() > 0.1


def test_a_folded_context_has_one_small_convolution_and_no_norm():
    network = deployed(P2AT("sample_cnn_light", 11))
    for context in (network.context2, network.context3):
        assert [p.shape for p in context.parameters()] == [(64, 64, 1, 1), (64,), (64,)]
    left = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == [network.head[0]], "the head's first norm follows an activation"
    assert not len(network.auxiliary)


def test_folding_leaves_the_trained_network_as_it_is():
    network = P2AT("sample_cnn_light", 11)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    deployed(network)
    after = network.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert network.training


def test_timm_norms_keep_their_activation():
    network = randomised(P2AT("efficientnet_lite0", 5))
    fused, x = deployed(network), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), network(x), rtol=0, atol=1e-5)
    assert not [m for m in fused.backbone.modules() if isinstance(m, nn.BatchNorm2d)], "all are in their convolutions"


@pytest.mark.parametrize("auxiliary", ["semantic", "boundary"])
def test_one_image_a_device_trains(auxiliary):
    network = P2AT("sample_cnn_light", 5, auxiliary=auxiliary).train()
    outputs = network(torch.rand(1, 3, 64, 64))
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert [output.shape[1] for output in outputs] == [5, 5, 1 if auxiliary == "boundary" else 5]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (75, 101), (33, 47), (360, 480)])
@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0", "sample_cnn"])
def test_logits_have_the_images_size_whatever_that_is(size, backbone):
    with torch.device("meta"):
        network = P2AT(backbone, 11).eval()
        assert network(torch.empty(2, 3, *size)).shape == (2, 11, *size)
        assert [y.shape for y in network.train()(torch.empty(2, 3, *size))] == 3 * [(2, 11, *size)]


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34"])
def test_small_resnets_keep_their_strides(backbone):
    assert build_backbone(backbone, output_stride=32).strides == [4, 4, 8, 16, 32]
    with pytest.raises(InputError, match=f"output_stride 16 of {backbone}; it has 32"):
        build_backbone(backbone)


@pytest.mark.parametrize("network", [P2AT("sample_cnn_light", 5), PlainDecoder("sample_cnn_light", 5)])
def test_checkpoint_gives_the_same_logits(network, tmp_path):
    save_network(tmp_path / "network.safetensors", network.eval())
    x = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        assert torch.equal(load_segmentation(tmp_path / "network.safetensors")(x), network(x))
