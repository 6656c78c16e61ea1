"""IRNet. Golden numbers: one float64 run of IRN's released networks with parameters of `rule_q`."""

import pytest
import torch

from fills import rule_q, rule_x
from maskmill.networks.classifier import Classifier
from maskmill.networks.irn import IRNet, edge_map, pair_edge_map
from maskmill.storage.checkpoints import load_network, save_network


def summary(values):
    return [
        values.mean().item(),
        values.abs().mean().item(),
        values.flatten()[0].item(),
        values.flatten()[-1].item(),
    ]


@pytest.fixture(scope="module")
def resnet_irn():
    return rule_q(IRNet("resnet50").double())


@pytest.fixture(scope="module")
def small_irn():
    return IRNet("sample_cnn", edge_width=8, displacement_widths=(8, 8, 16, 16, 16)).eval()


def test_outputs_and_gradients_are_the_reference_ones(resnet_irn):
    edge, displacement = resnet_irn.train()(rule_x(2, 3, 128, 128))
    assert edge.shape == (2, 1, 32, 32)
    assert displacement.shape == (2, 2, 32, 32)
    assert summary(edge) == pytest.approx([0.917276846053, 0.962286690025, 0.313269563053, 0.599235525835], rel=1e-9)
    assert summary(displacement) == pytest.approx(
        [0.431629128175, 0.454951022864, -0.152789129827, 1.35026496766], rel=1e-9
    )
    first_edge = resnet_irn.edge_stages[0].convolution.weight
    last_displacement = resnet_irn.displacement_stages[4].convolution.weight
    (edge_gradient,) = torch.autograd.grad(edge.square().mean(), first_edge)
    (displacement_gradient,) = torch.autograd.grad(displacement.square().mean(), last_displacement)
    assert edge_gradient.norm().item() == pytest.approx(4.38925678637, rel=1e-9)
    assert displacement_gradient.norm().item() == pytest.approx(10.6043102157, rel=1e-9)


def test_mean_shift_is_subtracted_in_evaluation_only(resnet_irn):
    x = rule_x(2, 3, 128, 128)
    with torch.no_grad():
        trained_edge, _ = resnet_irn.train()(x)
        resnet_irn.mean_shift.copy_(torch.tensor([0.3, -0.2], dtype=torch.float64))
        edge, displacement = resnet_irn.eval()(x)
        resnet_irn.mean_shift.zero_()
    assert torch.equal(edge, trained_edge)
    assert summary(displacement) == pytest.approx(
        [0.381629128175, 0.504199469961, -0.452789129827, 1.55026496766], rel=1e-9
    )


def test_edge_map_of_a_padded_pair_is_the_reference_map(resnet_irn):
    with torch.no_grad():
        edge = pair_edge_map(resnet_irn.eval(), rule_x(2, 3, 100, 116), crop_size=128)
    assert edge.shape == (25, 29)
    assert summary(edge) == pytest.approx([0.741265732276, 0.741265732276, 0.63474766438, 0.648733549851], rel=1e-9)


def test_displacement_of_a_padded_image_is_the_reference_field(resnet_irn):
    padded = torch.nn.functional.pad(rule_x(2, 3, 100, 116), (0, 12, 0, 28))
    with torch.no_grad():
        _, displacement = resnet_irn.eval()(padded)
    assert summary(displacement[0, :, :25, :29]) == pytest.approx(
        [0.578348162224, 0.719310843554, -0.665445270442, 0.0686878294579], rel=1e-9
    )


@pytest.mark.slow
def test_classifier_logits_and_cam_are_the_reference_ones():
    classifier = rule_q(Classifier("resnet50", 20).double())
    pair = rule_x(2, 3, 64, 80)
    with torch.no_grad():
        logits = classifier(pair)
        image, mirrored = classifier.classifier(classifier.backbone(pair)[-1]).relu()
        cam = classifier.cam(pair[:1])
        mirror_pair = classifier.classifier(classifier.backbone(torch.cat([pair[:1], pair[:1].flip(-1)]))[-1]).relu()
    assert summary(logits) == pytest.approx([0.952325071301, 3.88664458785, 0.516648597591, -2.88702367498], rel=1e-9)
    # The reference run took two unrelated images for an image and its mirror image.
    assert summary(image + mirrored.flip(-1)) == pytest.approx(
        [5.45338011488, 5.45338011488, 2.18712163591, 2.22773407821], rel=1e-9
    )
    torch.testing.assert_close(cam, mirror_pair[0] + mirror_pair[1].flip(-1))


def test_the_backbone_never_learns(small_irn):
    before = {name: value.clone() for name, value in small_irn.backbone.state_dict().items()}
    edge, displacement = small_irn.train()(torch.randn(2, 3, 64, 64))
    (edge.sum() + displacement.sum()).backward()
    assert all(parameter.grad is None for parameter in small_irn.backbone.parameters())
    assert all(torch.equal(value, before[name]) for name, value in small_irn.backbone.state_dict().items())
    learning = {id(parameter) for parameter in small_irn.parameters() if parameter.requires_grad}
    grouped = [*small_irn.edge_parameters(), *small_irn.displacement_parameters()]
    assert learning == {id(parameter) for parameter in grouped}
    assert len(grouped) == len(learning)


@pytest.mark.parametrize("backbone", ["sample_cnn", "efficientnet_lite0", "resnet50"])
def test_every_backbone_gives_maps_on_the_stride_4_grid(backbone):
    network = IRNet(backbone, edge_width=8, displacement_widths=(8, 8, 16, 16, 16)).eval()
    with torch.no_grad():
        edge, displacement = network(torch.randn(1, 3, 67, 89))
    assert edge.shape == (1, 1, 17, 23)
    assert displacement.shape == (1, 2, 17, 23)


@pytest.mark.parametrize("size", [(40, 56), (70, 101)])
def test_the_edge_map_of_a_mirror_image_is_mirrored(small_irn, size):
    image = torch.randn(1, 3, *size)
    edge = edge_map(small_irn.eval(), image, crop_size=64)
    assert edge.shape == ((size[0] - 1) // 4 + 1, (size[1] - 1) // 4 + 1)
    torch.testing.assert_close(edge_map(small_irn, image.flip(-1), crop_size=64), edge.flip(-1))


def test_an_image_larger_than_the_crop_is_not_cut(small_irn):
    image = torch.randn(1, 3, 96, 128)
    small_crop, large_crop = (edge_map(small_irn.eval(), image, crop_size=size) for size in (64, 96))
    assert small_crop.shape == large_crop.shape == (24, 32)
    torch.testing.assert_close(small_crop, large_crop)


def test_a_checkpoint_rebuilds_the_network(small_irn, tmp_path):
    save_network(tmp_path / "irn.safetensors", small_irn)
    rebuilt = load_network(tmp_path / "irn.safetensors", IRNet)
    image = torch.randn(1, 3, 40, 56)
    assert torch.equal(edge_map(rebuilt, image, 64), edge_map(small_irn.eval(), image, 64))
