"""MGD loss by loss. Golden numbers are those of the released modules on the same inputs."""

import copy
import hashlib
import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maskmill.data.cutmix import cutmix_masks, partner
from maskmill.methods import mgd
from maskmill.networks.deeplab_mgd import DeepLabV3PlusMGD
from maskmill.storage.caches import BATCH_STORES
from maskmill.training.losses import cross_entropy, ohem_cross_entropy

CLASSES, BATCH = 4, 2


def wave(function, shape, step):
    """function(step n), n = 0, 1, ... in row-major order; computed in double precision, float32."""
    return function(step * torch.arange(math.prod(shape), dtype=torch.float64)).float().reshape(shape)


class TinyNetwork(nn.Module):
    """Logits at the images' size, and features at half of it."""

    def __init__(self, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.decoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1))
            self.classifier = nn.Conv2d(8, CLASSES, 1)

    def forward(self, x):
        features = self.decoder(x)
        logits = F.interpolate(self.classifier(features), x.shape[-2:], mode="bilinear", align_corners=True)
        return logits, features


def deeplab(seed):
    """MGD's network on a backbone of ours."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DeepLabV3PlusMGD("sample_cnn", CLASSES, rates=(1, 2), width=32, low_level_width=16).train()


def example(side=16):
    """Images, labels, two unlabelled batches and a mask, of side x side."""
    generator = torch.Generator().manual_seed(0)
    images, *unlabelled = torch.randn(3, BATCH, 3, side, side, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH, side, side), generator=generator)
    labels[:, 0] = 255
    masks = cutmix_masks(BATCH, (side, side), np.random.default_rng(0))
    return images, labels, tuple(unlabelled), torch.from_numpy(masks)[:, None]


def gradients(network, losses):
    network.zero_grad()
    sum(losses.values()).backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


def running_means(network):
    return [buffer.clone() for name, buffer in network.named_buffers() if name.endswith("running_mean")]


def distil(student, wide, deep, *, side=16, **settings):
    images, labels, unlabelled, mask = example(side)
    outputs = [mgd.teacher_outputs(teacher, images, unlabelled, mask) for teacher in (wide, deep)]
    settings = {"lambda_1": 0.5, "lambda_2": 100.0} | settings
    return mgd.student_losses(student, images, labels, unlabelled, mask, *outputs, **settings)


# CutMix


@pytest.mark.parametrize(
    ("seed", "ones", "digest"), [(0, [1282, 786], "e399d5b6e3a0cf64"), (1, [750, 1145], "83e2d6f120f07839")]
)
def test_g4_masks_are_those_of_the_released_generator(seed, ones, digest):
    masks = cutmix_masks(2, (64, 64), np.random.RandomState(seed))
    assert masks.sum(axis=(1, 2)).tolist() == ones
    assert hashlib.sha256(masks.astype(np.uint8).tobytes()).hexdigest()[:16] == digest


def test_masks_cover_a_quarter_on_average():
    masks = cutmix_masks(2000, (32, 48), np.random.default_rng(0))
    assert masks.mean() == pytest.approx(0.251, abs=0.01)


def test_two_crops_of_one_image_are_mixed_or_any_two_images():
    rng = np.random.default_rng(0)
    assert [partner(index, 50, rng, pairing="same") for index in range(50)] == list(range(50))
    drawn = [partner(7, 5, rng, pairing="independent") for _ in range(200)]
    assert set(drawn) == {0, 1, 2, 3, 4}


def test_labels_mix_as_the_logits_they_are_the_maximum_of():
    _, _, (first, second), mask = example()
    expected = ((1 - mask.float()) * first + mask.float() * second).argmax(dim=1)
    assert mgd.mix(first, second, mask).argmax(dim=1).equal(expected)
    assert mgd.mix(first.argmax(dim=1), second.argmax(dim=1), mask).equal(expected)


# Supervised losses


def hard_examples():
    """Inputs of the golden loss of hard pixels: logits and labels."""
    position = torch.arange(2 * 9 * 9, dtype=torch.float64)
    labels = (7 * torch.arange(2 * 9 * 9) % 19).reshape(2, 9, 9)
    certainty = (6 + 4 * torch.sin(0.5 * position)).reshape(2, 1, 9, 9).float()
    logits = 3 * wave(torch.sin, (2, 19, 9, 9), 0.37) + F.one_hot(labels, 19).permute(0, 3, 1, 2) * certainty
    labels[:, 0] = 255
    return logits, labels


@pytest.mark.parametrize(("min_kept", "value"), [(20, 2.2087696), (100, 1.4003373), (100_000, 0.9747909)])
def test_g3_hard_pixels(min_kept, value):
    logits, labels = hard_examples()
    assert ohem_cross_entropy(logits, labels, min_kept=min_kept).item() == pytest.approx(value, abs=1e-6)


def test_g3_counts_and_plain_cross_entropy():
    logits, labels = hard_examples()
    valid = labels != 255
    probabilities = logits.softmax(dim=1).gather(1, labels.clamp(max=18)[:, None])[:, 0][valid]
    assert valid.sum() == 144 and (probabilities <= 0.7).sum() == 61
    assert cross_entropy(logits, labels).item() == pytest.approx(0.9747909, abs=1e-6)


def test_without_a_minimum_only_the_threshold_decides():
    logits, labels = hard_examples()
    few, none = (ohem_cross_entropy(logits, labels, min_kept=number) for number in (20, 0))
    assert few == none
    assert ohem_cross_entropy(logits, torch.full_like(labels, 255), min_kept=0) == 0


# Stage A


def test_cross_pseudo_supervision_is_the_published_sum():
    one, two = TinyNetwork(1), TinyNetwork(2)
    images, labels, (first, second), mask = example()
    m = mask.float()
    losses = mgd.cps_losses((one, two), images, labels, (first, second), mask, weight=5.0)
    pseudo = [((1 - m) * net(first)[0] + m * net(second)[0]).argmax(dim=1) for net in (one, two)]
    mixed = (1 - m) * first + m * second
    crossed = F.cross_entropy(one(mixed)[0], pseudo[1]) + F.cross_entropy(two(mixed)[0], pseudo[0])
    supervised = sum(F.cross_entropy(net(images)[0], labels, ignore_index=255) for net in (one, two))
    torch.testing.assert_close(losses["cps"], 5 * crossed)
    torch.testing.assert_close(losses["supervised"], supervised)


def test_before_the_unlabelled_images_join_the_loss_is_the_supervised_one():
    one, two = TinyNetwork(1), TinyNetwork(2)
    images, labels, unlabelled, mask = example()
    whole = mgd.cps_losses((one, two), images, labels, unlabelled, mask)
    assert mgd.cps_losses((one, two), images, labels, None, mask) == {"supervised": whole["supervised"]}


def test_unlabelled_and_mixed_images_pass_in_a_context_of_their_own():
    passes = []

    class Inside:
        def __enter__(self):
            passes.append("in")

        def __exit__(self, *_):
            passes.append("out")

    def branch(x):
        passes.append(tuple(x[:, 0, 0, 0].tolist()))
        return torch.zeros(2, 3, 4, 4, requires_grad=True), None

    def batch(value):
        return torch.full((2, 3, 4, 4), float(value))

    labels, mask = torch.zeros(2, 4, 4, dtype=torch.long), torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mgd.cps_losses((branch, branch), batch(1), labels, (batch(2), batch(3)), mask, unlabelled_pass=Inside)
    inside = passes[passes.index("in") + 1 : passes.index("out")]
    assert inside == [(2, 2), (3, 3)] * 2 + [(3, 3)] * 2, "x_0, x_1 and x_m, by both branches"
    assert passes[passes.index("out") + 1 :] == [(1, 1)] * 2


def test_both_branches_learn_and_the_supervised_loss_may_be_another():
    one, two = TinyNetwork(1), TinyNetwork(2)
    hard = partial(ohem_cross_entropy, min_kept=10, threshold=0.1)
    plain, ohem = (mgd.cps_losses((one, two), *example(), supervised=loss) for loss in (cross_entropy, hard))
    assert ohem["supervised"] > plain["supervised"]
    torch.testing.assert_close(ohem["cps"], plain["cps"])
    sum(plain.values()).backward()
    assert all(net.classifier.weight.grad.abs().sum() > 0 for net in (one, two))


# Stage B: image and region level


def test_g1_image_level_loss():
    student, teacher = wave(torch.sin, (2, 21, 8, 8), 0.1), wave(torch.cos, (2, 21, 8, 8), 0.1)
    loss = mgd.image_level_loss(mgd.pooled_logits(student), mgd.pooled_logits(teacher))
    assert loss.item() == pytest.approx(0.6035731, rel=1e-5)


def test_image_level_loss_is_the_released_sum_over_two_images_or_the_mean_over_the_batch():
    student, teacher = wave(torch.sin, (6, 5), 0.7), wave(torch.cos, (6, 5), 0.3)
    each = (student - teacher).abs().sum(dim=1)
    released = each.view(3, 2).sum(dim=1).mean()  # three GPUs of two images
    torch.testing.assert_close(mgd.image_level_loss(student, teacher), released)
    torch.testing.assert_close(mgd.image_level_loss(student, teacher, images_per_device=1), each.mean())


def test_g2_region_level_loss():
    student = mgd.relation(wave(torch.sin, (2, 256, 15, 15), 0.01))
    wide = mgd.relation(wave(torch.cos, (2, 256, 15, 15), 0.013))
    assert student.shape == (2, 49, 49)
    assert student[0, 0, 1].item() == pytest.approx(0.9997988, abs=1e-6)
    assert wide[1, 5, 9].item() == pytest.approx(0.9520426, abs=1e-6)
    assert mgd.region_level_loss(student, wide).item() == pytest.approx(0.0529079, abs=1e-6)


def test_relation_does_not_depend_on_the_number_or_length_of_channels_and_bears_empty_cells():
    features = torch.randn(1, 6, 14, 14, generator=torch.Generator().manual_seed(0))
    expected = mgd.relation(features)
    torch.testing.assert_close(mgd.relation(5 * features), expected)
    torch.testing.assert_close(mgd.relation(torch.cat([features, features], dim=1)), expected)
    features[..., :2, :2] = 0
    features.requires_grad_()
    mgd.relation(features).sum().backward()
    assert features.grad.isfinite().all()


# Stage B: the whole


def released_sum(student, wide, deep, *, lambda_1, lambda_2, side=16):
    """The released objective, teachers' own terms included; every pass of the three networks in its order."""
    images, labels, (first, second), mask = example(side)
    m = mask.float()
    mixed = (1 - m) * first + m * second

    def frozen(network, x):
        with torch.no_grad():
            return network(x)

    pseudo = []
    for network in (student, wide, deep):
        z_0, z_1 = frozen(network, first)[0], frozen(network, second)[0]
        pseudo.append(((1 - m) * z_0 + m * z_1).argmax(dim=1))
    (z_s, f_s), (z_w, f_w), (z_d, _) = student(mixed), frozen(wide, mixed), frozen(deep, mixed)
    (l_s, _), (l_w, _), (l_d, _) = student(images), frozen(wide, images), frozen(deep, images)

    consistency = F.cross_entropy(z_s, pseudo[1]) + F.cross_entropy(z_w, pseudo[0])
    consistency = consistency + F.cross_entropy(z_s, pseudo[2]) + F.cross_entropy(z_d, pseudo[0])
    for logits in (l_w, l_d):
        consistency = consistency + F.cross_entropy(l_s, logits.argmax(dim=1))
        consistency = consistency + F.cross_entropy(logits, l_s.argmax(dim=1))
    pooled = [F.adaptive_avg_pool2d(z, 1) for z in (z_s, z_d)]
    similarity = []
    for features in (f_s, f_w):
        q = F.adaptive_avg_pool2d(features, (7, 7)).flatten(2)
        similarity.append(q.transpose(1, 2) @ q / (q.norm(dim=1)[:, :, None] * q.norm(dim=1)[:, None]))
    return {
        "supervised": sum(F.cross_entropy(z, labels, ignore_index=255) for z in (l_s, l_w, l_d)),
        "pixel": consistency,
        "image": lambda_1 * (pooled[0] - pooled[1]).abs().sum(),
        "region": lambda_2 * ((similarity[0] - similarity[1]) ** 2).mean(),
    }


@pytest.mark.parametrize(("build", "side"), [(TinyNetwork, 16), (deeplab, 64)])
def test_students_own_objective_has_the_gradient_of_the_released_sum(build, side):
    student, wide, deep = build(1), mgd.freeze_teacher(build(2)), mgd.freeze_teacher(build(3))
    copies = copy.deepcopy((student, wide, deep))
    before = [parameter.clone() for net in (wide, deep) for parameter in net.parameters()]
    ours = distil(student, wide, deep, side=side)
    released = released_sum(*copies, lambda_1=0.5, lambda_2=100.0, side=side)
    assert sum(released.values()) > sum(ours.values()) + 1, "the released sum has more terms"
    for own, theirs in zip(gradients(student, ours), gradients(copies[0], released), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)
    assert all(b.equal(p) for b, p in zip(before, [p for n in (wide, deep) for p in n.parameters()], strict=True))
    for network, other in zip((student, wide, deep), copies, strict=True):
        torch.testing.assert_close(running_means(network), running_means(other))


def test_terms_of_the_students_objective():
    student, wide, deep = TinyNetwork(1), mgd.freeze_teacher(TinyNetwork(2)), mgd.freeze_teacher(TinyNetwork(3))
    losses = distil(student, wide, deep)
    assert list(losses) == ["supervised", "pixel_mixed", "pixel_labelled", "image", "region"]
    double = distil(student, wide, deep, lambda_1=1.0, lambda_2=200.0)
    for name, value in losses.items():
        assert double[name].item() == pytest.approx((2 if name in ("image", "region") else 1) * value.item(), rel=1e-5)
    assert list(distil(student, wide, deep, lambda_1=0, lambda_2=0)) == ["supervised", "pixel_mixed", "pixel_labelled"]


def test_the_wide_teacher_gives_the_relation_and_the_deep_one_the_pooled_logits():
    images, labels, unlabelled, mask = example()
    teachers = [mgd.freeze_teacher(TinyNetwork(seed), batchnorm="eval") for seed in (2, 3, 4)]
    wide, deep, other = (mgd.teacher_outputs(teacher, images, unlabelled, mask) for teacher in teachers)

    def losses(*outputs):
        terms = mgd.student_losses(TinyNetwork(1), images, labels, unlabelled, mask, *outputs, lambda_1=1, lambda_2=1)
        return {name: value.item() for name, value in terms.items()}

    expected = losses(wide, deep)
    assert losses(wide._replace(pooled=None), deep._replace(relation=None)) == expected
    for outputs, changed in (((other, deep), "region"), ((wide, other), "image")):
        differs = {name for name, value in losses(*outputs).items() if value != expected[name]}
        assert differs == {"pixel_mixed", "pixel_labelled", changed}


@pytest.mark.parametrize("batchnorm", ["train", "eval"])
def test_teachers_normalise_by_the_batch_or_by_what_they_learnt(batchnorm):
    teacher = TinyNetwork(2)
    for _ in range(3):
        teacher(3 + 2 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)))
    teacher = mgd.freeze_teacher(teacher, batchnorm=batchnorm)
    before, images = running_means(teacher), example()[0]
    alone, together = teacher(images[:1])[0][0], teacher(images)[0][0]
    assert torch.allclose(alone, together, atol=1e-5) == (batchnorm == "eval")
    assert torch.equal(before[0], running_means(teacher)[0]) == (batchnorm == "eval")
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_extra_passes_change_the_running_statistics_and_no_loss():
    wide, deep = mgd.freeze_teacher(TinyNetwork(2)), mgd.freeze_teacher(TinyNetwork(3))
    students = [TinyNetwork(1), TinyNetwork(1)]
    losses = [distil(s, wide, deep, extra_passes=extra) for s, extra in zip(students, (True, False), strict=True)]
    assert [value.item() for value in losses[0].values()] == [value.item() for value in losses[1].values()]
    assert [int(student.decoder[1].num_batches_tracked) for student in students] == [4, 2]
    assert not running_means(students[0])[0].equal(running_means(students[1])[0])


def test_stored_outputs_are_those_that_students_need():
    images, _, unlabelled, mask = example()
    wide, deep = (mgd.teacher_outputs(TinyNetwork(seed).eval(), images, unlabelled, mask) for seed in (2, 3))
    arrays = mgd.stored_arrays(wide, deep)
    assert set(arrays) == set(BATCH_STORES) and arrays["wide_labels"].dtype == torch.uint8
    needed = wide._replace(pooled=None), deep._replace(relation=None)
    for stored, outputs in zip(mgd.outputs_from_stores(arrays), needed, strict=True):
        for own, expected in zip(stored, outputs, strict=True):
            assert own is expected is None or own.equal(expected)


def test_padding_counts_or_is_left_out():
    images, _, unlabelled, mask = example()
    teacher = mgd.freeze_teacher(TinyNetwork(2))
    padding = torch.zeros(3, BATCH, 16, 16, dtype=torch.bool)
    padding[0, :, :3], padding[1, :, :5], padding[2, ..., 9:] = True, True, True
    counted = mgd.teacher_outputs(teacher, images, unlabelled, mask)
    without = mgd.teacher_outputs(teacher, images, unlabelled, mask, tuple(padding))
    assert not (counted.labelled == 255).any() and not (counted.mixed == 255).any()
    assert (without.labelled == 255).equal(padding[0])
    assert (without.mixed == 255).equal(torch.where(mask[:, 0], padding[2], padding[1]))


def test_labels_of_little_confidence_are_left_out():
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0]])[..., None, None]  # probabilities of the first class: 0.88, 0.62
    assert mgd.pseudo_labels(logits).flatten().tolist() == [0, 0]
    assert mgd.pseudo_labels(logits, 0.7).flatten().tolist() == [0, 255]
    images, _, unlabelled, mask = example()
    teacher = mgd.freeze_teacher(TinyNetwork(2), batchnorm="eval")
    inputs = teacher, images, unlabelled, mask
    all_labels, some = (mgd.teacher_outputs(*inputs, min_confidence=least) for least in (0.0, 0.4))
    for chosen, before in ((some.labelled, all_labels.labelled), (some.mixed, all_labels.mixed)):
        assert 0 < (chosen == 255).float().mean() < 1
        assert chosen[chosen != 255].equal(before[chosen != 255])
    assert some.pooled.equal(all_labels.pooled) and some.relation.equal(all_labels.relation)


def test_padding_that_does_not_count_pulls_neither_the_pooled_logits_nor_the_relation():
    images, labels, unlabelled, mask = example()
    padding = torch.zeros(3, BATCH, 16, 16, dtype=torch.bool)
    padding[1:, :, 8:] = True
    valid = mgd.valid_pixels(tuple(padding), mask)
    assert valid.equal(~padding[1][:, None])
    teacher = mgd.freeze_teacher(TinyNetwork(2), batchnorm="eval")
    outputs = mgd.teacher_outputs(teacher, images, unlabelled, mask, tuple(padding))
    logits, features = teacher(mgd.mix(*unlabelled, mask))
    torch.testing.assert_close(outputs.pooled, logits[:, :, :8].mean(dim=(2, 3)))
    features[:, :, 4:] = 0
    torch.testing.assert_close(outputs.relation, mgd.relation(features))
    student, inputs = TinyNetwork(1), (images, labels, unlabelled, mask, outputs, outputs)
    itself = mgd.student_losses(teacher, *inputs, valid=valid, lambda_1=1, lambda_2=1)
    assert itself["image"].item() == itself["region"].item() == 0, "the teacher agrees with itself"
    other = mgd.student_losses(student, *inputs, valid=valid, lambda_1=1, lambda_2=1)
    counted = mgd.student_losses(student, *inputs, lambda_1=1, lambda_2=1)
    assert all(other[name] != counted[name] for name in ("image", "region"))


def test_pooled_logits_of_a_single_pixel_are_its_own_and_those_of_none_are_zero():
    logits, valid = wave(torch.cos, (2, 3, 4, 4), 0.3), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    valid[0, 0, 1, 2] = True
    torch.testing.assert_close(mgd.pooled_logits(logits, valid), torch.stack([logits[0, :, 1, 2], torch.zeros(3)]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: partner(0, 2, None, pairing="other"), "pairing is 'other'; choose one of same, independent"),
        (lambda: mgd.freeze_teacher(TinyNetwork(0), batchnorm="off"), "batchnorm is 'off'; choose one of train, eval"),
    ],
)
def test_misspelt_switches_are_named_with_their_options(call, message):
    with pytest.raises(ValueError, match=message):
        call()
