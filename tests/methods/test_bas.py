"""BAS's equations: against a plain restatement, image by image, and the merging of seeds against the released code."""

import copy
import math

import pytest
import torch
from torch import nn

from maskmill.evaluation.localization import normalise
from maskmill.methods.bas import (
    SATURATED,
    background_activation,
    draw_class,
    foreground_guidance,
    fused,
    localization_losses,
    logits,
    multi_label,
    seed_losses,
    selected_map,
)
from maskmill.methods.cam import merge_scales
from maskmill.networks.bas import BASLocalizer, BASSeeds


def plain_cross_entropy(z, label):
    return -(z[label].exp() / z.exp().sum()).log()


def plain_terms(network, x, labels, *, detach_scores, saturated):
    """L_frg, L_bas, L_ac as sums over images / B, and the score vectors, from the definitions. The frozen copy is a
    deep copy; what it must not have is taken away by hand."""
    frozen = copy.deepcopy(network.f2).requires_grad_(False)
    features = network.f1(x)
    maps = 1 / (1 + (-network.generator(features)).exp())
    scores = network.f2(features)
    chosen = torch.stack([maps[i, label] for i, label in enumerate(labels)])
    left = torch.stack([features[i].detach() * (1 - chosen[i]) for i in range(len(x))])
    erased = frozen(left)
    frg = bas = ac = 0
    for i, label in enumerate(labels):
        m = chosen[i]
        if scores.shape[-1] != m.shape[-1]:  # 2x2 means
            m = (m[::2, ::2] + m[1::2, ::2] + m[::2, 1::2] + m[1::2, 1::2]) / 4
        seen = scores[i].detach() if detach_scores else scores[i]
        frg = frg + plain_cross_entropy((seen * m).flatten(1).mean(1), label)
        s, s_b = scores[i, label].mean().item(), erased[i, label].mean()
        if max(s_b.item(), 0) > max(s, 0):
            bas = bas + saturated
        elif s_b > 0:
            bas = bas + s_b / (s + 1e-8)
        ac = ac + chosen[i].mean()
    count = len(x)
    return frg / count, bas / count, ac / count, scores.flatten(2).mean(2)


def assert_same(network, found, twin, expected):
    """Two losses of two copies of a network agree, and their gradients for every parameter."""
    torch.testing.assert_close(found, expected)
    ours, plain = (
        torch.autograd.grad(loss, list(own.parameters())) for own, loss in ((network, found), (twin, expected))
    )
    for (name, _), a, b in zip(network.named_parameters(), ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.9), (0.5, 1.5)])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_localisation_loss_and_all_gradients_are_those_of_the_plain_equations(alpha, beta, seed):
    torch.manual_seed(seed)
    network = BASLocalizer("sample_cnn", 4, head_width=8).double().train()
    for layer in (network.generator, network.f2[1][4]):
        nn.init.normal_(layer.weight, std=0.3)
    x, labels = torch.randn(5, 3, 32, 32, dtype=torch.float64), [0, 1, 2, 3, 1]
    twin = copy.deepcopy(network)
    terms = localization_losses(*network(x, torch.tensor(labels)), torch.tensor(labels), alpha=alpha, beta=beta)
    frg, bas, ac, z = plain_terms(twin, x, labels, detach_scores=False, saturated=1)
    cls = sum(plain_cross_entropy(z[i], label) for i, label in enumerate(labels)) / 5
    assert_same(network, sum(terms.values()), twin, cls + alpha * frg + bas + beta * ac)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_seed_loss_and_all_gradients_are_those_of_the_plain_equations(seed):
    torch.manual_seed(seed)
    network = BASSeeds("sample_cnn", 4, output_stride=8).double().train()
    x, drawn = torch.randn(4, 3, 32, 32, dtype=torch.float64), [0, 3, 2, 1]
    tags = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 1, 0, 1]], dtype=torch.bool)
    twin = copy.deepcopy(network)
    found = sum(seed_losses(*network(x, torch.tensor(drawn)), torch.tensor(drawn), tags).values())
    frg, bas, ac, z = plain_terms(twin, x, drawn, detach_scores=True, saturated=1)
    mcls = 0
    for i in range(4):
        negatives = z[i][~tags[i]].exp().sum()
        for c in range(4):
            if tags[i, c]:
                mcls = mcls - (z[i, c].exp() / (z[i, c].exp() + negatives)).log() / 4
    assert_same(network, found, twin, mcls + 0.2 * frg + bas + 1.2 * ac)


@pytest.mark.parametrize("saturated", [1.0, 0.0])
def test_a_ratio_above_one_is_a_constant_without_gradient(saturated):
    scores = torch.tensor([2.0, 2.0, -1.0, -1.0]).view(4, 1, 1, 1).expand(4, 1, 3, 3)
    erased = torch.tensor([1.0, 3.0, 0.5, -0.5]).view(4, 1, 1, 1).expand(4, 1, 3, 3).clone().requires_grad_()
    loss = background_activation(scores, erased, torch.zeros(4, dtype=torch.long), saturated=saturated)
    assert loss.tolist() == pytest.approx([0.5, saturated, saturated, 0.0])
    loss.sum().backward()
    assert erased.grad.sum(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 0, 0, 0])


def test_only_vgg_saturates_at_zero_in_the_extension():
    assert {name: SATURATED.get(name, 1.0) for name in ("vgg16", "resnet50")} == {"vgg16": 0.0, "resnet50": 1.0}


def test_the_whole_images_activation_is_a_constant_in_the_ratio():
    scores = torch.full((1, 1, 2, 2), 2.0, requires_grad=True)
    erased = torch.full((1, 1, 2, 2), 1.0, requires_grad=True)
    background_activation(scores, erased, torch.tensor([0])).sum().backward()
    assert scores.grad is None or not scores.grad.any()
    assert erased.grad.any()


def test_guidance_reaches_the_scores_in_localisation_and_only_the_generator_in_seeds():
    scores = torch.randn(2, 3, 2, 2, requires_grad=True)
    foreground = torch.rand(2, 1, 4, 4, requires_grad=True)
    labels, tags = torch.tensor([0, 2]), torch.tensor([[1, 0, 0], [0, 0, 1]], dtype=torch.bool)
    erased = torch.zeros(2, 3, 2, 2)
    whole = localization_losses(scores, foreground, erased, labels, alpha=1, beta=0)["frg"]
    assert all(g.any() for g in torch.autograd.grad(whole, (scores, foreground)))
    part = seed_losses(scores, foreground, erased, labels, tags)["frg"]
    to_scores, to_map = torch.autograd.grad(part, (scores, foreground), allow_unused=True)
    assert to_scores is None and to_map.any()
    assert part.item() == pytest.approx(0.2 * foreground_guidance(scores, foreground, labels).item())


def test_multi_label_loss_compares_positives_with_negatives_alone():
    z = torch.tensor([[1.0, 9.0, 0.0], [2.0, -1.0, 3.0]])
    tags = torch.tensor([[True, True, False], [True, True, True]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-9))) / 2
    assert multi_label(z, tags).item() == pytest.approx(expected)


def test_multi_label_loss_of_an_image_with_every_class_has_no_gradient():
    z = torch.randn(1, 3, requires_grad=True)
    multi_label(z, torch.ones(1, 3, dtype=torch.bool)).backward()
    assert torch.equal(z.grad, torch.zeros(1, 3))


def test_classes_are_drawn_uniformly_among_an_images_own():
    torch.manual_seed(0)
    tags = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0]], dtype=torch.bool)
    draws = torch.stack([draw_class(tags) for _ in range(600)])
    counts = torch.bincount(draws[:, 0], minlength=4)
    assert counts[1] == 0 and counts[[0, 2, 3]].min() > 150
    assert (draws[:, 1] == 1).all()


def test_top_k_maps_are_the_mean_of_the_likeliest_and_k_1_takes_the_given_class():
    maps = torch.rand(2, 4, 3, 3)
    z = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 2.0, 0.0]])
    labels = torch.tensor([2, 3])
    assert torch.equal(selected_map(maps, z, labels, 1), torch.stack([maps[0, 2], maps[1, 3]]))
    both = torch.stack([(maps[0, 1] + maps[0, 3]) / 2, (maps[1, 0] + maps[1, 2]) / 2])
    torch.testing.assert_close(selected_map(maps, z, labels, 2), both)
    torch.testing.assert_close(selected_map(maps, z, labels, 4), maps.mean(dim=1))


def test_normalised_maps_span_zero_to_one_and_a_constant_map_becomes_zero():
    maps = torch.stack([torch.arange(9.0).view(3, 3) * 2 + 5, torch.full((3, 3), 0.3)]).double()
    expected = torch.arange(9.0, dtype=torch.float64).view(3, 3) * 2 / (16 + 1e-5)
    found = torch.from_numpy(normalise(maps.numpy()))
    torch.testing.assert_close(found, torch.stack([expected, torch.zeros(3, 3)]), rtol=0, atol=1e-6)
    assert normalise(maps.numpy(), epsilon=0)[0].max() == 1


def test_normalised_maps_are_the_reference_ones():
    y, x = torch.meshgrid(*(torch.arange(28.0, dtype=torch.float64),) * 2, indexing="ij")
    a = 0.9 * (-((x - 8) ** 2 + (y - 9) ** 2) / 18).exp() + 0.6 * (-((x - 20) ** 2 + (y - 18) ** 2) / 12.5).exp()
    found = torch.nn.functional.interpolate(
        torch.from_numpy(normalise(a.numpy()))[None, None], (224, 224), mode="bilinear"
    )[0, 0]
    assert found.mean().item() == pytest.approx(0.105263455271, abs=1e-6)
    assert [found.max().item(), found[0, 0].item(), found[-1, -1].item()] == pytest.approx(
        [0.993245311161, 0.000317330498486, 2.02880746439e-05], abs=1e-6
    )


def wave(function, k, height, width):
    n = torch.arange(1, 4 * height * width + 1, dtype=torch.float64)
    return function(n, k).view(4, height, width)


@pytest.fixture
def map_sets():
    """The classifier's and BAS' maps of one image at four scales."""
    sizes = [(4, 5), (2, 3), (6, 7), (7, 9)]
    cams = [wave(lambda n, k: torch.sin(0.21 * n + k).abs(), k, *size) for k, size in enumerate(sizes)]
    bas = [wave(lambda n, k: 2 * torch.cos(0.17 * n + 0.5 * k).abs(), k, *size) for k, size in enumerate(sizes)]
    return cams, bas


def test_fused_seeds_are_the_reference_ones(map_sets):
    """One run of the released merging: both sets divided by their own maxima, added, divided again."""
    seeds = fused(*(merge_scales(maps, (50, 70), classes=[1, 3, 4]) for maps in map_sets))
    assert seeds.shape == (3, 13, 18)
    assert [seeds.mean().item(), seeds[0, 0, 0].item(), seeds[-1, -1, -1].item()] == pytest.approx(
        [0.838882871576, 0.703536292938, 0.670837573888], rel=1e-9
    )
    assert seeds.amax((1, 2)).tolist() == pytest.approx([0.999994570941, 0.999994899276, 0.999994751014], rel=1e-9)


def test_seeds_fused_at_full_size_are_the_reference_ones(map_sets):
    """The release's second set, which no stage here stores: on a grid of whole strides of 16, cut to the image."""
    totals = [sum(nn.functional.interpolate(m[None], (64, 80), mode="bilinear")[0] for m in maps) for maps in map_sets]
    seeds = fused(*(merge_scales([total[:, :50, :70]], (4 * 50, 4 * 70), classes=[1, 3, 4]) for total in totals))
    assert seeds.shape == (3, 50, 70)
    assert [seeds.mean().item(), seeds[0, 0, 0].item(), seeds[-1, -1, -1].item()] == pytest.approx(
        [0.842112676234, 0.696664726032, 0.705584590246], rel=1e-9
    )
    assert seeds.amax((1, 2)).tolist() == pytest.approx([0.99999449729, 0.99999488677, 0.999994764775], rel=1e-9)


def test_pooled_scores_are_the_logits():
    scores = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(logits(scores), nn.functional.adaptive_avg_pool2d(scores, 1).flatten(1))
