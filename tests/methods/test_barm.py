"""BARM's losses. Golden numbers: values of the released training step and metric (`trainer/trainer.py`,
`metrics/stream_metrics.py` of ANDYZAQ/BARM) for inputs from formulas, computed in float32."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DistributedSampler

from maskmill.evaluation.segmentation import confusion, scores
from maskmill.methods.barm import (
    IGNORE,
    WEIGHTS,
    adaptation_negative,
    adaptation_positive,
    background_bce,
    bce,
    first_losses,
    losses,
    probabilities,
    pseudo_labels,
    sampled_images,
    upsample,
)
from maskmill.networks.barm import Output, aggregate

SIZE, FEATURE_SIZE = (20, 24), (5, 6)


def formula(channels: int, frequency: float, amplitude: float) -> torch.Tensor:
    n = torch.arange(1, 2 * channels * math.prod(FEATURE_SIZE) + 1, dtype=torch.float64)
    return (amplitude * torch.sin(frequency * n)).view(2, channels, *FEATURE_SIZE)


def outputs(groups, ears, *, learning: bool) -> Output:
    z = [formula(channels, frequency, 2.0).requires_grad_(learning) for channels, frequency in groups]
    g = [formula(8, frequency, 1.0).requires_grad_(learning) for frequency in ears]
    return Output(aggregate(z, learning=learning), z, g)


@pytest.fixture
def student() -> Output:
    return outputs([(4, 0.11), (3, 0.17), (2, 0.23)], [0.07, 0.09, 0.10], learning=True)


@pytest.fixture
def teacher() -> Output:
    return outputs([(4, 0.12), (3, 0.18)], [0.071, 0.091], learning=False)


@pytest.fixture
def labels() -> torch.Tensor:
    labels = torch.zeros(2, *SIZE, dtype=torch.long)
    labels[:, 4:10, 3:12] = 6
    labels[:, :2] = IGNORE
    return labels


def test_t3_a_step_gives_the_released_losses(student, teacher, labels):
    terms = losses(student, teacher, labels)
    expected = {
        "pseudo": 5.8607504,
        "positive": 0.8252713,
        "negative": 5 * 0.3102255,
        "group": 5.2971162,
        "background_feature": 4 * 0.0506239,
    }
    assert list(terms) == list(expected) == list(WEIGHTS)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, abs=WEIGHTS[name] * 1e-6), name
    assert sum(terms.values()).item() == pytest.approx(13.7367613, abs=1e-5)


def test_t3_the_teacher_labels_as_many_pixels_as_released(teacher, labels):
    targets = pseudo_labels(upsample(teacher.logits, labels), labels)
    assert (targets != labels).sum() == 692
    assert (targets != IGNORE).sum() == 864
    assert (targets[labels == 6] == 6).all(), "only background is relabelled"


def test_t1_bce_sums_over_channels_and_averages_over_valid_pixels(student, labels):
    logits = upsample(student.logits, labels)
    one_hot = F.one_hot(labels.masked_fill(labels == IGNORE, 0), 7).permute(0, 3, 1, 2).double()
    pixels = F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").sum(dim=1)
    torch.testing.assert_close(bce(logits, labels), pixels[labels != IGNORE].mean())
    torch.testing.assert_close(first_losses(student.logits, labels)["bce"], bce(logits, labels))


def test_old_classes_have_no_gradient_of_pseudo_labels(labels):
    logits = torch.randn(2, 7, *SIZE, requires_grad=True)
    background_bce(logits, labels, known=6).backward()
    assert (logits.grad[:, 1:6] == 0).all()
    assert (logits.grad[:, [0, 6], 2:] != 0).all()


def test_a_step_learns_nothing_through_older_residuals_but_what_distillation_asks(student, teacher, labels):
    terms = losses(student, teacher, labels)
    (terms["pseudo"] + terms["positive"] + terms["negative"]).backward()
    assert student.scores[2].grad[:, 0].abs().sum() > 0
    for z in student.scores[:2]:
        assert (z.grad == 0).all()


def test_the_teacher_is_a_constant(student, labels):
    teacher = outputs([(4, 0.12), (3, 0.18)], [0.071, 0.091], learning=True)
    sum(losses(student, teacher, labels).values()).backward()
    assert all(tensor.grad is None for tensor in (*teacher.scores, *teacher.features))


def test_only_probable_old_classes_replace_background():
    logits = torch.tensor([[2.0, 1.0, -1.0], [1.0, 3.0, 0.5]]).T.reshape(1, 3, 1, 2)  # best: background, class 1
    zeros = torch.zeros(1, 1, 2, dtype=torch.long)
    assert pseudo_labels(logits, zeros).tolist() == [[[0, 1]]]
    assert pseudo_labels(logits, zeros, threshold=0.96).tolist() == [[[0, 0]]]  # sigma(3) = 0.953
    assert pseudo_labels(logits, torch.tensor([[[IGNORE, 2]]])).tolist() == [[[IGNORE, 2]]]


@pytest.mark.parametrize("value", [6, IGNORE], ids=["new class", "void"])
def test_a_batch_without_background_has_finite_losses_and_gradients(student, teacher, labels, value):
    terms = losses(student, teacher, torch.full_like(labels, value))
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(tensor.grad.isfinite().all() for tensor in student.scores)
    assert terms["negative"] == 0 and terms["background_feature"] == 0


def test_residuals_fall_on_new_classes_and_rise_to_zero_on_background():
    residual = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    adaptation_positive(residual, torch.ones(3)).backward()
    assert (residual.grad > 0).all()
    residual.grad = None
    adaptation_negative(residual, torch.ones(3)).backward()
    assert residual.grad[0] < 0 and (residual.grad[2] == 0)


def test_evaluation_enlarges_probabilities():
    logits = torch.tensor([[[[0.0, 8.0]]]])
    enlarged = probabilities(logits, (1, 4))[0, 0, 0]
    ends = logits.sigmoid()[0, 0, 0]
    torch.testing.assert_close(enlarged[1], 0.75 * ends[0] + 0.25 * ends[1])


def test_t5_released_metric_is_the_mean_over_all_classes():
    a = np.arange(800).reshape(2, 20, 20)
    truth, prediction = 7 * a % 17, (7 * a + (a % 5 == 0)) % 17
    truth.flat[:5] = 255
    matrix, names = confusion(truth, prediction, 17), [str(c) for c in range(17)]

    def miou(averaged, matrix=matrix):
        return scores(matrix, names, averaged, counted="all")[0]["value"]

    assert miou(range(17)) == pytest.approx(66.67531, abs=1e-4)
    assert miou(range(16)) == pytest.approx(66.60145, abs=1e-4)
    assert miou([16]) == pytest.approx(67.85714, abs=1e-4)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(0.8)
    without = confusion(np.where(truth == 16, 0, truth), prediction, 17)
    assert miou([16], without) == 0
    assert miou(range(17), without) == pytest.approx(61.63329, abs=1e-4)


@pytest.mark.parametrize("count", [487, 8])
def test_official_parity_sees_the_half_that_the_first_of_two_processes_sees(count):
    images = [f"image_{i}" for i in range(count)]
    sampler = DistributedSampler(images, num_replicas=2, rank=0)
    assert sampled_images(images, parity_mode="official") == [images[i] for i in sampler]
    assert sampled_images(images) == sampled_images(images, parity_mode="intended") == images


def test_15_1_sees_244_of_487_images_in_its_first_step():
    assert len(set(sampled_images(range(487), parity_mode="official"))) == 244


def test_an_unknown_parity_mode_is_refused():
    with pytest.raises(ValueError, match="parity_mode is 'paper'; choose one of official, intended"):
        sampled_images(["a"], parity_mode="paper")
