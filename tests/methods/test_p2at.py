"""P2AT's losses. Golden numbers: values of the released losses for inputs from formulas, in float64."""

import pytest
import torch

from maskmill.methods.p2at import (
    IGNORE,
    balanced_weights,
    boundaries,
    boundary_loss,
    cross_entropy,
    losses,
    ohem_cross_entropy,
    weighted_bce,
)

OHEM = {"threshold": 0.9, "min_kept": 10}


def formula(amplitude: float, frequency: float, *shape: int) -> torch.Tensor:
    n = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
    return amplitude * torch.cos(frequency * n).view(shape)


@pytest.fixture
def logits():
    return formula(3, 0.23, 2, 5, 6, 7)


@pytest.fixture
def labels():
    labels = (7 * torch.arange(84) % 5).view(2, 6, 7)
    labels[0, 0, :3] = IGNORE
    return labels


def test_cross_entropy_gives_the_released_value(logits, labels):
    assert cross_entropy(logits, labels).item() == pytest.approx(3.0412411244, abs=6e-11)


@pytest.mark.parametrize(("threshold", "value"), [(0.9, 3.0412411244), (0.3, 3.9506730542)])
def test_hard_pixels_give_the_released_value(logits, labels, threshold, value):
    loss = ohem_cross_entropy(logits, labels, threshold=threshold, min_kept=10)
    assert loss.item() == pytest.approx(value, abs=6e-11)


def test_boundary_losses_give_the_released_values():
    logits, target = formula(2, 0.31, 2, 1, 6, 7), (torch.arange(84) % 4 == 0).double().view(2, 1, 6, 7)
    assert weighted_bce(logits, target).item() == pytest.approx(0.3436467626, abs=6e-11)
    assert boundary_loss(logits, target).item() == pytest.approx(7.5247344520, abs=6e-10)


def test_at_least_about_min_kept_pixels_count_however_easy_they_are():
    """Probabilities 0.5 to 0.99 with a threshold below all: the kept ones are the smallest."""
    p = torch.linspace(0.5, 0.99, 50, dtype=torch.float64)
    logits = torch.stack([p.logit(), torch.zeros(50, dtype=torch.float64)])[None, :, None]
    loss = ohem_cross_entropy(logits, torch.zeros(1, 1, 50, dtype=torch.long), threshold=0.1, min_kept=7)
    assert loss.item() == pytest.approx(-p[:7].log().mean().item())


def test_images_without_labels_cost_nothing_and_have_a_gradient(logits):
    logits.requires_grad_()
    empty = torch.full((2, 6, 7), IGNORE)
    total = sum(losses((logits, logits, logits), empty, ohem=OHEM).values())
    total.backward()
    assert total.item() == 0 and logits.grad.abs().max() == 0


def test_weighted_cross_entropy_is_a_weighted_mean(logits, labels):
    weights = torch.tensor([0.5, 1, 2, 3, 1.5], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(logits, labels, weights), expected)


def test_auxiliary_heads_are_weighed_by_the_balance(logits, labels):
    first, second = logits.flip(1), logits.roll(1, dims=1)
    terms = losses((logits, first, second), labels, balance=(0.4, 2.0), ohem=OHEM)
    assert terms["hard"].item() == pytest.approx(2 * 3.0412411244, abs=1e-9)
    expected = 0.4 * (cross_entropy(first, labels) + cross_entropy(second, labels))
    torch.testing.assert_close(terms["auxiliary"], expected)


def test_a_network_without_auxiliary_heads_has_the_hard_loss_alone(logits, labels):
    assert list(losses(logits, labels, ohem=OHEM)) == ["hard"]


def test_with_a_boundary_head_the_final_logits_are_also_learned_near_boundaries(logits, labels):
    near = torch.zeros(2, 1, 6, 7, dtype=torch.float64)
    near[:, :, 2] = 5
    terms = losses((logits, logits, near), labels, auxiliary="boundary", ohem=OHEM)
    only_row = labels.clone()
    only_row[:, [0, 1, 3, 4, 5]] = IGNORE
    torch.testing.assert_close(terms["near_boundary"], ohem_cross_entropy(logits, only_row, **OHEM))
    torch.testing.assert_close(terms["boundary"], boundary_loss(near, boundaries(labels)))
    assert list(terms) == ["hard", "auxiliary", "boundary", "near_boundary"]


def released_loss(final, first, boundary, labels, *, aux_weight, keep, threshold=0.9):
    """`FullModel` (`utils/utils.py`) with `OHEMCrossEntropyLoss` (`losses/criterion.py`), and the trainer's mean."""

    def pixelwise(logits, labels):
        safe = labels.clamp(max=logits.shape[1] - 1)
        p = logits.log_softmax(dim=1).gather(1, safe[:, None])[:, 0]
        return torch.where(labels == IGNORE, 0, -p)

    def hard(logits, labels):
        costs = pixelwise(logits, labels)[labels != IGNORE].sort(descending=True).values
        largest = max(torch.exp(-costs)[min(keep, len(costs) - 1)].item(), threshold)
        return costs[torch.exp(-costs) < largest].mean()

    near = torch.where(boundary[:, 0].sigmoid() > 0.8, labels, IGNORE)
    semantic = 0.4 * pixelwise(first, labels) + 1.0 * hard(final, labels)  # [B, H, W] plus a number
    return (semantic + boundary_loss(boundary, boundaries(labels)) + aux_weight * hard(final, near)).mean()


@pytest.mark.parametrize("aux_weight", [0.4, 1.0])
def test_with_official_means_and_weights_the_total_is_the_released_one(aux_weight):
    draw = torch.Generator().manual_seed(0)
    final, first, boundary = (
        3 * torch.randn(2, channels, 13, 17, generator=draw, dtype=torch.float64) for channels in (5, 5, 1)
    )
    labels = torch.randint(5, (2, 13, 17), generator=draw)
    labels[:, :, 14:], labels[0, :3] = IGNORE, IGNORE  # 27 % of the pixels
    ohem = {"threshold": 0.9, "min_kept": 40, "images": 4}  # 20 of two images
    options = {"auxiliary": "boundary", "near_boundary": aux_weight, "auxiliary_mean": "official", "ohem": ohem}
    terms = losses((final, first, boundary), labels, **options)
    expected = released_loss(final, first, boundary, labels, aux_weight=aux_weight, keep=20)
    assert sum(terms.values()).item() == pytest.approx(expected.item(), rel=1e-12)
    valid = losses((final, first, boundary), labels, **options | {"auxiliary_mean": "valid"})
    share = (labels != IGNORE).double().mean().item()
    assert (terms["auxiliary"] / valid["auxiliary"]).item() == pytest.approx(share, rel=1e-12) and share < 0.8


def test_the_number_of_hard_pixels_grows_with_the_images_of_the_device():
    logits = torch.linspace(0.1, 4, 64, dtype=torch.float64).reshape(4, 1, 4, 4)
    logits = torch.cat([logits, torch.zeros_like(logits)], dim=1)  # probabilities rise from pixel to pixel
    labels = torch.zeros(4, 4, 4, dtype=torch.long)
    costs = -logits.log_softmax(dim=1)[:, 0].flatten()
    ohem = {"threshold": 0.1, "min_kept": 6, "images": 2}
    assert losses(logits, labels, ohem=ohem)["hard"].item() == pytest.approx(costs[:12].mean().item())
    assert losses(logits[:2], labels[:2], ohem=ohem)["hard"].item() == pytest.approx(costs[:6].mean().item())


def test_official_mean_counts_weights_of_classes_but_not_their_sum(logits, labels):
    weights = torch.tensor([0.5, 1, 2, 3, 1.5], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="none").mean()
    options = {"balance": (0.5, 1.0), "auxiliary_mean": "official", "ohem": OHEM, "class_weights": weights}
    torch.testing.assert_close(losses((logits, logits, logits), labels, **options)["auxiliary"], expected)


def test_rare_classes_weigh_more_and_the_mean_over_those_that_occur_is_one():
    weights = balanced_weights(torch.tensor([900.0, 90.0, 10.0, 0.0]))
    assert weights[0] < weights[1] < weights[2]
    assert weights[:3].mean().item() == pytest.approx(1)
    assert (weights[2] / weights[0]).item() == pytest.approx(
        torch.log(torch.tensor(1.92 / 1.0)).item() / 0.0295588, rel=1e-4
    )
    weights = balanced_weights(torch.tensor([99.0, 1.0, 0.0]))  # a single pixel occurs as well
    assert weights[:2].mean().item() == pytest.approx(1)


def test_boundaries_are_where_classes_meet_but_not_at_void_nor_at_the_images_ends():
    labels = torch.zeros(1, 8, 12, dtype=torch.long)
    labels[:, :, 6:] = 1
    edges = boundaries(labels, width=4)[0, 0]
    assert edges.shape == (8, 12)
    assert torch.equal(edges, edges[:1].expand(8, 12)), "the top row does not border on the bottom row"
    assert edges[0].nonzero().flatten().tolist() == [4, 5, 6, 7]
    labels[:, :, 6:] = IGNORE
    assert boundaries(labels).sum() == 0
