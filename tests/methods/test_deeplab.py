"""Training and tuning of DeepLab v2."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from maskmill.methods.crf_search import coarse_settings, fine_settings
from maskmill.methods.deeplab import deep_supervision, parameter_groups
from maskmill.networks.deeplab_v2 import DeepLabV2
from maskmill.training.schedules import poly


@pytest.mark.parametrize(
    ("iteration", "rate"), [(5000, 1.92972e-4), (10000, 1.33972e-4), (15000, 7.17936e-5), (19990, 2.67309e-7)]
)
def test_poly_schedule_has_the_published_values(iteration, rate):
    assert 2.5e-4 * poly(20000)(iteration) == pytest.approx(rate, rel=5e-6)
    assert poly(20000)(iteration) == pytest.approx((1 - iteration / 20000) ** 0.9, abs=1e-12)


def test_loss_is_the_sum_over_maps_of_means_over_valid_pixels():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, side, side, generator=generator) for side in (5, 3, 4)]
    labels = torch.randint(0, 3, (2, 33, 33), generator=generator)
    labels[:, :12] = 255
    expected = 0
    for scores in maps:
        side = scores.shape[-1]
        small = [np.array(Image.fromarray(y.numpy().astype(np.uint8)).resize((side, side), 0)) for y in labels]
        expected += F.cross_entropy(scores, torch.from_numpy(np.stack(small)).long(), ignore_index=255)
    torch.testing.assert_close(deep_supervision(maps, labels), expected)


def test_a_batch_without_a_valid_pixel_has_loss_zero():
    assert deep_supervision([torch.randn(1, 3, 4, 4)], torch.full((1, 8, 8), 255)) == 0


def rates_of(network, layers):
    groups = parameter_groups(network, layers, lr=1.0, weight_decay=0.5, multipliers={"scores": 10, "bias": 2})
    return {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_score_layers_learn_ten_times_and_their_biases_twenty_times_as_fast():
    network = DeepLabV2("vgg16", 4, rates=(6, 12), hidden=8)
    rates = rates_of(network, network.score_layers())
    for branch in network.branches:
        fc6, fc8 = branch[0], branch[-1]
        assert [rates[id(p)] for p in (fc6.weight, fc6.bias)] == [(1, 0.5), (2, 0)]
        assert [rates[id(p)] for p in (fc8.weight, fc8.bias)] == [(10, 0.5), (20, 0)]
    convolution = network.backbone.stages[0][0]
    assert [rates[id(p)] for p in (convolution.weight, convolution.bias)] == [(1, 0.5), (2, 0)]
    assert len(rates) == len(list(network.parameters()))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_are_left_out_and_others_learn_without_decay(frozen):
    network = DeepLabV2("sample_cnn", 4, rates=(1,), frozen_batchnorm=frozen)
    rates, norm = rates_of(network, network.score_layers()), network.backbone.stages[0][1]
    assert rates.get(id(norm.weight)) == (None if frozen else (1, 0))
    assert rates.get(id(norm.bias)) == (None if frozen else (1, 0))


def test_coarse_grid_and_the_steps_around_its_best():
    fixed = {"gaussian_sxy": 3, "iterations": 10}
    grid = {"bilateral_compat": [3, 4], "bilateral_sxy": [30, 40, 50]}
    settings = coarse_settings(grid, fixed)
    assert len(settings) == 6
    assert settings[1] == {**fixed, "bilateral_compat": 3, "bilateral_sxy": 40}
    fine = fine_settings(settings[1], {"bilateral_compat": 3, "bilateral_sxy": 5})
    assert {(s["bilateral_compat"], s["bilateral_sxy"]) for s in fine} == {(c, x) for c in (3, 6) for x in (35, 40, 45)}
    assert all(s["gaussian_sxy"] == 3 for s in fine)
    assert [s["sxy"] for s in fine_settings({"sxy": 2}, {"sxy": 1})] == [1, 2, 3]
    assert [s["sxy"] for s in fine_settings({"sxy": 1}, {"sxy": 1})] == [1, 2], "values are positive"
