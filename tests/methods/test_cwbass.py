"""CW-BASS equation by equation. Golden numbers are those of the released formulas on the same inputs."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.methods import cwbass

GOLDEN = {"abs": 1e-6}


def wave(function, shape, step):
    """function(step n), n = 0, 1, ... in row-major order; computed in double precision, float32."""
    return function(step * torch.arange(math.prod(shape), dtype=torch.float64)).float().reshape(shape)


def shapes():
    """Label maps of the golden boundaries, int64 [2, 12, 12]: four rectangles, and a disc."""
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    return torch.stack([(x >= 6) + 2 * (y >= 7), 3 * ((x - 5) ** 2 + (y - 5) ** 2 < 10)])


def teacher_and_student():
    """Logits of the golden losses, [2, 5, 12, 12] each."""
    onehot = F.one_hot(shapes(), 5).permute(0, 3, 1, 2)
    return 2 * onehot + wave(torch.sin, (2, 5, 12, 12), 0.23), 2 * wave(torch.cos, (2, 5, 12, 12), 0.31)


def unlabelled_terms(threshold=None, **switches):
    teacher, student = teacher_and_student()
    confidence, labels = cwbass.pseudo_labels(teacher)
    if threshold is None:
        threshold = cwbass.dynamic_threshold(confidence, labels)
    truth = torch.zeros(2, 12, 12, dtype=torch.long)
    pseudo = cwbass.PseudoLabels(labels, confidence, threshold)
    return losses(student, truth, student, pseudo, **switches)


def losses(*tensors, strength=1.0, class_balanced=False, averaged=False, **settings):
    """`cwbass.losses` with the fields of its settings and of the release as keywords."""
    release = cwbass.Release(class_balanced=class_balanced, averaged=averaged)
    return cwbass.losses(*tensors, settings=cwbass.LossSettings(**settings), release=release, strength=strength)


# Confidence and threshold


def test_confidence_is_the_highest_probability_and_carries_no_gradient():
    logits = torch.tensor([[[[0.0]], [[math.log(3)]]]], requires_grad=True)
    confidence, labels = cwbass.pseudo_labels(logits)
    assert confidence.item() == pytest.approx(0.75) and labels.item() == 1
    assert not confidence.requires_grad


@pytest.mark.parametrize(
    ("mean", "tau"),
    [(0.05, 0.3), (0.3, 0.3), (0.5, 0.3), (0.7, 0.3150), (0.9, 0.3299), (0.95, 0.3336), (1.0, 0.3373)],
)
def test_g5_dynamic_threshold_of_the_published_settings(mean, tau):
    confidence = torch.tensor([[[mean - 0.05, mean + 0.05]]], dtype=torch.float64)
    labels = torch.zeros(1, 1, 2, dtype=torch.long)
    assert cwbass.dynamic_threshold(confidence, labels).item() == pytest.approx(tau, abs=5e-5)


def test_dynamic_threshold_is_clipped_at_both_ends():
    ones, labels = torch.ones(1, 1, 2), torch.zeros(1, 1, 2, dtype=torch.long)
    assert cwbass.dynamic_threshold(ones, labels, t0=3.0).item() == pytest.approx(0.8)
    assert cwbass.dynamic_threshold(0 * ones, labels, t0=0.1, tau_min=0.2).item() == pytest.approx(0.2)


def test_pixels_without_a_label_do_not_count_in_the_mean_confidence():
    confidence = torch.tensor([[[0.9, 0.9, 0.0]]])
    labels = torch.tensor([[[1, 2, 255]]])
    assert cwbass.dynamic_threshold(confidence, labels).item() == pytest.approx(0.3299, abs=5e-5)
    assert cwbass.dynamic_threshold(confidence, torch.zeros_like(labels)).item() == pytest.approx(0.3075, abs=5e-5)


def test_labels_are_kept_strictly_above_the_threshold_of_all_or_of_their_class():
    confidence = torch.tensor([[[0.5, 0.51, 0.9, 0.9]]])
    labels = torch.tensor([[[0, 0, 1, 255]]])
    assert cwbass.retained(labels, confidence, 0.5).tolist() == [[[255, 0, 1, 255]]]
    assert cwbass.retained(labels, confidence, torch.tensor([0.4, 0.95])).tolist() == [[[0, 0, 255, 255]]]


# Boundaries


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 21]), st.sampled_from([(1, 1), (5, 4), (9, 12)]))
def test_boundaries_are_those_of_the_sobel_filter_on_every_class(seed, num_classes, size):
    labels = torch.randint(0, num_classes, (2, *size), generator=torch.Generator().manual_seed(seed))
    indicators = F.one_hot(labels, num_classes).permute(0, 3, 1, 2).double().flatten(0, 1)[:, None]
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    for pad, mode in (("zeros", "constant"), ("replicate", "replicate")):
        gradients = F.conv2d(F.pad(indicators, (1, 1, 1, 1), mode=mode), torch.stack([sobel, sobel.T])[:, None])
        expected = gradients.abs().sum(dim=1).view(2, num_classes, *size).sum(dim=1) > 0
        assert cwbass.boundaries(labels, pad=pad).equal(expected)


def test_g6_frame_step_and_shapes():
    constant = torch.zeros(1, 16, 16, dtype=torch.long)
    assert cwbass.boundaries(constant).sum() == 60
    step = constant.clone()
    step[..., 8:] = 1
    inside = cwbass.boundaries(step)[0, 1:-1, 1:-1]
    assert (inside.any(dim=0).nonzero() + 1).flatten().tolist() == [7, 8]
    assert cwbass.boundaries(shapes()).sum(dim=(1, 2)).tolist() == [80, 96]


def test_replicated_padding_leaves_the_frame_out_and_nothing_else():
    constant = torch.zeros(1, 16, 16, dtype=torch.long)
    assert not cwbass.boundaries(constant, pad="replicate").any()
    both = [cwbass.boundaries(shapes(), pad=pad) for pad in ("zeros", "replicate")]
    assert both[0][:, 1:-1, 1:-1].equal(both[1][:, 1:-1, 1:-1])
    assert both[1][0, 0].nonzero().flatten().tolist() == [5, 6]  # the vertical border meets the frame


def test_an_isolated_pixel_is_flagged_around_its_centre():
    labels = torch.zeros(1, 7, 7, dtype=torch.long)
    labels[0, 3, 3] = 2
    edges = cwbass.boundaries(labels, pad="replicate")[0]
    assert edges.sum() == 8 and not edges[3, 3] and edges[2:5, 2:5].sum() == 8


def test_ignored_pixels_are_like_the_outside_of_the_image():
    labels = torch.zeros(1, 7, 7, dtype=torch.long)
    labels[0, :, 4:] = 255
    assert cwbass.boundaries(labels)[0, 1:-1, 1:3].sum() == 0
    assert cwbass.boundaries(labels)[0, :, 3].all()
    assert not cwbass.boundaries(labels, pad="replicate").any()


# The losses


def test_g7_statistics_of_the_teacher():
    confidence, labels = cwbass.pseudo_labels(teacher_and_student()[0])
    threshold = cwbass.dynamic_threshold(confidence, labels)
    assert confidence.mean().item() == pytest.approx(0.5863166, **GOLDEN)
    assert threshold.item() == pytest.approx(0.3064727, **GOLDEN)
    assert (cwbass.retained(labels, confidence, threshold) != 255).sum() == 283
    assert (cwbass.retained(labels, confidence, 0.6) != 255).sum() == 142
    assert cwbass.boundaries(labels).sum() == 176


@pytest.mark.parametrize(
    ("threshold", "weighted", "boundary"), [(None, 1.2428529, 2.1005759), (0.6, 1.4765139, 1.9743629)]
)
def test_g7_and_g7b_losses(threshold, weighted, boundary):
    terms = unlabelled_terms(threshold)
    assert terms["confidence_weighted"].item() == pytest.approx(weighted, **GOLDEN)
    assert terms["boundary"].item() == pytest.approx(0.5 * boundary, **GOLDEN)


@pytest.mark.parametrize(
    ("threshold", "switches", "value"),
    [
        (None, {"gamma": 2.0}, 0.7775347),
        (0.6, {"gamma": 2.0}, 1.0844439),
        (None, {"decay": "constant"}, 1.1185673),
    ],
)
def test_g7_losses_with_gamma_and_decay(threshold, switches, value):
    assert unlabelled_terms(threshold, **switches)["confidence_weighted"].item() == pytest.approx(value, **GOLDEN)


@pytest.mark.parametrize(("threshold", "total"), [(None, 1.8739145), (0.6, 1.8738651)])
def test_g7_first_release_is_the_same_loss_with_dropped_pixels_as_background_and_means_over_all_pixels(
    threshold, total
):
    """So its weight of 0.5 on the boundary is not ours: the sums agree, the divisors do not."""
    teacher, student = teacher_and_student()
    confidence, labels = cwbass.pseudo_labels(teacher)
    tau = cwbass.dynamic_threshold(confidence, labels) if threshold is None else threshold
    left = cwbass.retained(labels, confidence, tau)
    edges = cwbass.boundaries(labels)
    filled = left.masked_fill(left == 255, 0)
    weighted = cwbass.confidence_weighted_loss(student, filled, cwbass.confidence_weight(confidence))
    boundary = cwbass.boundary_loss(student, filled, edges) * edges.float().mean()
    if threshold is None:
        assert weighted.item() == pytest.approx(1.2317270, **GOLDEN)
        assert boundary.item() == pytest.approx(1.2843750, **GOLDEN)
    assert (weighted + 0.5 * boundary).item() == pytest.approx(total, **GOLDEN)


@pytest.mark.parametrize(
    ("decay", "factors"), [("none", [1, 1, 1]), ("constant", 3 * [0.9]), ("exponential", [1, 0.9, 0.81])]
)
def test_decay_is_absent_constant_or_exponential(decay, factors):
    assert [cwbass.decay_factor(epoch, decay=decay) for epoch in range(3)] == pytest.approx(factors)


def test_decay_is_inside_the_power():
    confidence = torch.tensor([0.5, 1.0])
    assert cwbass.confidence_weight(confidence, gamma=2.0, factor=0.9).tolist() == pytest.approx([0.2025, 0.81])


def test_every_component_can_be_switched_off():
    full = unlabelled_terms(0.4)
    assert set(unlabelled_terms(0.4, boundary_weight=0)) == {"supervised", "confidence_weighted"}
    teacher, student = teacher_and_student()
    confidence, labels = cwbass.pseudo_labels(teacher)
    plain = F.cross_entropy(student, cwbass.retained(labels, confidence, 0.4), ignore_index=255)
    terms = unlabelled_terms(0.4, weighted=False)
    torch.testing.assert_close(terms["confidence_weighted"], plain)
    torch.testing.assert_close(terms["boundary"], full["boundary"])
    everything = unlabelled_terms(0.0, weighted=False, boundary_weight=0)
    torch.testing.assert_close(everything["confidence_weighted"], F.cross_entropy(student, labels))


def test_supervised_term_is_the_cross_entropy_and_strength_scales_only_the_other_terms():
    full, weak = unlabelled_terms(), unlabelled_terms(strength=0.25)
    truth = torch.zeros(2, 12, 12, dtype=torch.long)
    torch.testing.assert_close(full["supervised"], F.cross_entropy(teacher_and_student()[1], truth))
    assert weak["supervised"] == full["supervised"]
    for name in ("confidence_weighted", "boundary"):
        assert weak[name].item() == pytest.approx(full[name].item() / 4)


def test_the_ramp_rises_linearly_and_stays():
    assert [cwbass.ramp(t, 4) for t in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert cwbass.ramp(0, 0) == 1


def test_a_batch_without_a_kept_label_has_zero_loss_and_gradient():
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    pseudo = cwbass.PseudoLabels(torch.zeros(1, 4, 4, dtype=torch.long), torch.zeros(1, 4, 4), 0.5)
    terms = losses(student, torch.full((1, 4, 4), 255), student, pseudo)
    sum(terms.values()).backward()
    assert sum(terms.values()).item() == 0 and not student.grad.any()


# The second release


def batch(confident: float, rare: float, rare_pixels: int):
    """Confidence and labels of 400 pixels: class 0, and `rare_pixels` of class 1."""
    labels = torch.zeros(1, 20, 20, dtype=torch.long)
    labels.view(-1)[:rare_pixels] = 1
    return torch.where(labels == 1, rare, confident), labels


def test_averages_of_the_adaptive_threshold():
    threshold = cwbass.AdaptiveThreshold(3)
    threshold(*batch(0.9, 0.4, 40))
    assert threshold.class_confidence.tolist() == pytest.approx([0.9, 0.4, 0.5])
    assert threshold.mean_confidence.item() == pytest.approx(0.99 * 0.6 + 0.01 * 0.85)
    threshold(*batch(0.5, 0.8, 5))  # too few of class 1
    assert threshold.class_confidence.tolist() == pytest.approx([0.999 * 0.9 + 0.001 * 0.5, 0.4, 0.5])


@pytest.mark.parametrize("floor", ["none", "global", "per_class"])
def test_adaptive_threshold_is_the_larger_of_formula_and_floor(floor):
    threshold = cwbass.AdaptiveThreshold(3, floor=floor)
    tau = threshold(*batch(0.9, 0.4, 40))
    dynamic = 0.6 / (1 + math.exp(-0.5 * ((0.9 + 0.4 + 0.5) / 3 - 0.5)))
    mean = 0.95 * (0.99 * 0.6 + 0.01 * 0.85)
    floors = {"none": [0, 0, 0], "global": 3 * [mean], "per_class": [mean, mean * 4 / 9, mean * 5 / 9]}[floor]
    assert tau.tolist() == pytest.approx([max(dynamic, value) for value in floors], rel=1e-6)


def test_floor_rises_with_confidence_and_keeps_the_threshold_from_its_lower_end():
    threshold, taus = cwbass.AdaptiveThreshold(2), []
    for confident in torch.linspace(0.5, 0.98, 300):
        taus.append(threshold(*batch(confident.item(), 0.6, 40))[0].item())
    assert min(taus) > 0.35 and taus[-1] > taus[20] + 0.1
    dynamic = cwbass.AdaptiveThreshold(2, floor="none")
    assert max(dynamic(*batch(0.98, 0.6, 40))[0].item() for _ in range(300)) < 0.338


def test_floor_stays_below_its_cap():
    threshold = cwbass.AdaptiveThreshold(2, floor_scale=1.2)
    for _ in range(300):
        tau = threshold(*batch(1.0, 1.0, 40))
    assert tau.tolist() == pytest.approx([0.95, 0.95])


def test_adaptive_threshold_is_clipped_at_both_ends_also_without_a_floor():
    low, high = cwbass.AdaptiveThreshold(2, floor="none"), cwbass.AdaptiveThreshold(2, floor="none", t0=3.0)
    assert low(*batch(0.05, 0.05, 40)).tolist() == pytest.approx([0.3, 0.3])  # 0.6 sigma(-0.225) = 0.266
    assert high(*batch(0.05, 0.05, 40)).tolist() == pytest.approx([0.95, 0.95])  # 1.33


def test_rare_class_of_low_confidence_has_the_lower_floor():
    threshold = cwbass.AdaptiveThreshold(2, floor="per_class")
    for _ in range(50):
        tau = threshold(*batch(0.95, 0.5, 20))
    assert tau[1] < tau[0] - 0.1


def test_adaptive_threshold_leaves_ignored_pixels_out_and_survives_saving():
    confidence, labels = batch(0.9, 0.4, 40)
    padded = (
        torch.cat([confidence, torch.zeros(1, 5, 20)], dim=1),
        torch.cat([labels, torch.full((1, 5, 20), 255)], dim=1),
    )
    one, other, empty = (cwbass.AdaptiveThreshold(2, floor="per_class") for _ in range(3))
    assert one(confidence, labels).equal(other(*padded))
    empty(padded[0][:, 20:], padded[1][:, 20:])  # nothing to see
    assert empty.mean_confidence.item() == pytest.approx(0.6)
    restored = cwbass.AdaptiveThreshold(2, floor="per_class")
    restored.load_state_dict(one.state_dict())
    assert one(*batch(0.7, 0.8, 60)).equal(restored(*batch(0.7, 0.8, 60)))


def test_class_balance_is_inverse_to_frequency_with_mean_one():
    labels = torch.tensor([[[0, 0, 0, 0], [2, 255, 255, 255]]])
    assert cwbass.class_balance(labels, 4).tolist() == pytest.approx([0.4, 0, 1.6, 0])
    assert not cwbass.class_balance(torch.full((1, 2, 2), 255), 4).any()


def test_class_balance_weighs_the_confidence_weighted_term_alone():
    teacher, student = teacher_and_student()
    confidence, labels = cwbass.pseudo_labels(teacher)
    left = cwbass.retained(labels, confidence, 0.6)
    pixels = torch.tensor([(left == k).sum() for k in range(5)])
    inverse = torch.where(pixels > 0, 1 / pixels.clamp(min=1), 0)
    balance = inverse / inverse[pixels > 0].mean()
    valid = left != 255
    each = F.cross_entropy(student, left, ignore_index=255, reduction="none")[valid]
    expected = (balance[left[valid]] * confidence[valid] * each).mean()
    terms = unlabelled_terms(0.6, class_balanced=True)
    torch.testing.assert_close(terms["confidence_weighted"], expected)
    assert terms["boundary"] == unlabelled_terms(0.6)["boundary"]


def test_second_release_halves_the_whole_objective():
    once, half = unlabelled_terms(), unlabelled_terms(averaged=True)
    assert {name: 2 * value.item() for name, value in half.items()} == pytest.approx(
        {name: value.item() for name, value in once.items()}
    )


def test_decay_of_the_settings_scales_the_confidence_by_the_epoch():
    settings = cwbass.LossSettings(decay="exponential", d=0.5)
    teacher, student = teacher_and_student()
    confidence, labels = cwbass.pseudo_labels(teacher)
    pseudo, truth = cwbass.PseudoLabels(labels, confidence, 0.4), torch.zeros(2, 12, 12, dtype=torch.long)
    options = {"settings": settings, "release": cwbass.VARIANTS["paper"]}
    first, third = (cwbass.losses(student, truth, student, pseudo, epoch=epoch, **options) for epoch in (0, 2))
    assert third["confidence_weighted"].item() == pytest.approx(first["confidence_weighted"].item() / 4)
    assert third["boundary"] == first["boundary"]


def test_the_paper_has_a_fixed_teacher_and_strong_augmentation_and_its_first_release_neither():
    without = {"cutmix": False, "adaptive": False, "class_balanced": False, "averaged": False, "teacher_scored": False}
    paper = {"ema": None, "strong": True, "joined": True, "ramped": True, **without}
    online = {"ema": {"decay": 0.999, "buffers": "copied"}, "strong": False, "joined": False, "ramped": True, **without}
    assert [asdict(cwbass.VARIANTS[name]) for name in ("paper", "online")] == [paper, online]


def test_the_second_release_differs_from_the_first_in_all_but_the_passes():
    online, v2 = cwbass.VARIANTS["online"], cwbass.VARIANTS["v2"]
    changed = {"ema": v2.ema, "strong": True, "cutmix": True, "adaptive": True, "class_balanced": True}
    assert replace(online, **changed, averaged=True, ramped=False, teacher_scored=True) == v2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cwbass.boundaries(shapes(), pad="same"), "pad is 'same'; choose one of zeros, replicate"),
        (
            lambda: cwbass.decay_factor(0, decay="cosine"),
            "decay is 'cosine'; choose one of none, constant, exponential",
        ),
        (lambda: cwbass.AdaptiveThreshold(2, floor="low"), "floor is 'low'; choose one of none, global, per_class"),
    ],
)
def test_misspelt_switches_are_named_with_their_options(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Drawn:
    """A generator that gives chosen numbers: lambda, the middle of the box, the donors."""

    def __init__(self, share, middle, donors):
        self.share, self.middle, self.donors = share, list(middle), donors

    def random(self):
        return self.share

    def integers(self, low, high, endpoint):
        assert endpoint and low <= self.middle[0] <= high, "randint(0, side), both ends included"
        return self.middle.pop(0)

    def permutation(self, count):
        assert sorted(self.donors) == list(range(count))
        return np.array(self.donors)


@pytest.mark.parametrize("seed", range(10))
def test_cutmix_copies_the_released_box_from_the_donors(seed):
    """Against the second release's `core/perturb.py`, restated with masks, on an odd size."""
    rng = np.random.default_rng(seed)
    size, lam, donors = (37, 53), rng.random(), rng.permutation(5).tolist()
    middle = [int(rng.integers(0, length + 1)) for length in size]
    halves = [int(length * (1 - lam) ** 0.5) // 2 for length in size]
    rows, columns = (
        torch.tensor([-half <= place - at < half for place in range(length)])
        for length, half, at in zip(size, halves, middle, strict=True)
    )
    box = rows[:, None] & columns
    maps = [torch.rand(5, 3, *size), torch.randint(0, 4, (5, *size)), torch.rand(5, *size)]
    for own, original in zip(cwbass.cutmix(maps, Drawn(lam, middle, donors)), maps, strict=True):
        assert torch.equal(own, torch.where(box, original[donors], original))


def test_boxes_are_as_large_as_the_released_ones():
    """20,000 boxes of `core/perturb.py` in crops of 321 pixels: mean area 0.318 of the crop, above 0.4 in 32 %."""
    rng = np.random.default_rng(0)
    sides = [[part.stop - part.start for part in cwbass.mixing_box((321, 321), rng)] for _ in range(20_000)]
    areas = np.prod(sides, axis=1) / 321**2
    assert areas.mean() == pytest.approx(0.318, abs=0.005) and (areas > 0.4).mean() == pytest.approx(0.32, abs=0.01)
    assert (areas == 0).mean() < 1e-3


def test_each_iteration_has_a_box_and_an_order_of_its_own():
    maps = [torch.arange(8.0)[:, None, None].expand(8, 16, 16)]
    first, again, other = (cwbass.cutmix(maps, np.random.default_rng(seed))[0] for seed in (5, 5, 6))
    assert first.equal(again) and not first.equal(other)
    assert maps[0].equal(torch.arange(8.0)[:, None, None].expand(8, 16, 16)), "the batch itself stays"


def test_the_threshold_is_of_the_clean_view_and_only_then_images_are_mixed():
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([0, 1])[:, None, None].expand(2, 4, 4)
    confidence = torch.tensor([0.4, 0.8])[:, None, None].expand(2, 4, 4)
    seen, draws = [], [Drawn(0.4, (2, 2), [1, 0]) for _ in range(2)]
    tau, mixed = cwbass.threshold_then_mix(
        lambda *views: seen.append(views) or 0.7, images, labels, confidence, draws[0]
    )
    ((of_confidence, of_labels),) = seen
    assert tau == 0.7 and of_confidence.equal(confidence) and of_labels.equal(labels)
    for own, expected in zip(mixed, cwbass.cutmix([images, labels, confidence], draws[1]), strict=True):
        assert own.equal(expected)
    assert not mixed[0].equal(images)
    tau, whole = cwbass.threshold_then_mix(cwbass.no_threshold, images, labels, confidence)
    assert tau == 0 and whole[0] is images and cwbass.retained(labels, confidence, tau).equal(labels)


def test_batch_norms_see_labelled_and_unlabelled_images_together_or_one_after_the_other():
    labelled, unlabelled = torch.randn(2, 3, 4, 4), 5 + torch.randn(2, 3, 4, 4)
    both = torch.cat([labelled, unlabelled])
    norm = torch.nn.BatchNorm2d(3)
    together = cwbass.student_logits(norm, labelled, unlabelled, joined=True)
    torch.testing.assert_close(torch.cat(together).mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert norm.num_batches_tracked == 1
    apart = cwbass.student_logits(norm, labelled, unlabelled, joined=False)
    for own, images in zip(apart, (labelled, unlabelled), strict=True):
        torch.testing.assert_close(own, torch.nn.BatchNorm2d(3)(images))
    assert norm.num_batches_tracked == 3
    assert not torch.allclose(torch.cat(apart), torch.nn.BatchNorm2d(3)(both))


def test_the_releases_pass_the_two_kinds_of_images_one_after_the_other():
    assert [name for name, release in cwbass.VARIANTS.items() if release.joined] == ["paper"]
