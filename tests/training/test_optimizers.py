"""Golden numbers: one run of IRN's released `PolyOptimizer`, 20 scheduled steps, power 0.9."""

import pytest
import torch

from maskmill.training.optimizers import backbone_and_new, build_optimizer, decayed_weights
from maskmill.training.schedules import poly, step_decay


def trajectory(groups, gradient, steps, **options):
    """Learning rate of the first group used at each step, and all parameters after it."""
    optimizer = build_optimizer(groups, **options)
    initial = [group["lr"] for group in optimizer.param_groups]
    schedule = poly(iterations=20, power=0.9)
    rates, states = [], []
    for step in range(steps):
        for group, lr in zip(optimizer.param_groups, initial, strict=True):
            group["lr"] = lr * schedule(step)
        parameters = [parameter for group in groups for parameter in group["params"]]
        for parameter in parameters:
            parameter.grad = gradient(parameter.detach())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        states.append([parameter.tolist() for parameter in parameters])
    return rates, states


def parameter():
    return torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)


GOLDEN_STEPS = {
    1: (0.1, [0.9, -1.8, 0.45]),
    2: (0.0954885381621, [0.8140507668, -1.6281015336, 0.4070253834]),
    3: (0.0909532576083, [0.740002010999, -1.480004022, 0.370001005499]),
    5: (0.0818052146051, [0.620752575862, -1.24150515172, 0.310376287931]),
    10: (0.058388379292, [0.43685120308, -0.873702406161, 0.21842560154]),
    15: (0.0338383461902, [0.349191208845, -0.698382417691, 0.174595604423]),
    19: (0.0125892541179, [0.32109312973, -0.642186259459, 0.160546564865]),
    20: (0.00674641423837, [0.31892668306, -0.63785336612, 0.15946334153]),
    21: (0.00674641423837, [0.3167748549, -0.6335497098, 0.15838742745]),
    22: (0.00674641423837, [0.314637545326, -0.629275090651, 0.157318772663]),
}


def test_schedule_and_steps_are_the_reference_trajectory():
    # In this run the weight decay 1e-4 reached SGD as momentum only: the groups had no weight decay.
    groups = [{"params": [parameter()], "lr": 0.1, "weight_decay": 0.0}]
    rates, states = trajectory(groups, lambda value: value, steps=22, momentum=1e-4)
    for step, (rate, values) in GOLDEN_STEPS.items():
        assert rates[step - 1] == pytest.approx(rate, rel=1e-9)
        assert states[step - 1][0] == pytest.approx(values, rel=1e-9)


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "after_20"),
    [
        (0.0, 0.0, [0.318963610193, -0.637927220387, 0.159481805097]),
        (0.9, 1e-4, [-0.161778884815, 0.32355776963, -0.0808894424076]),
    ],
)
def test_intended_momentum_and_weight_decay_are_used_as_given(momentum, weight_decay, after_20):
    groups = [{"params": [parameter()], "lr": 0.1, "weight_decay": weight_decay}]
    _, states = trajectory(groups, lambda value: value, steps=20, momentum=momentum)
    assert states[-1][0] == pytest.approx(after_20, rel=1e-9)


def test_official_groups_follow_the_reference_trajectory():
    groups = [
        {"params": [parameter()], "lr": 0.1, "weight_decay": 1e-4},
        {"params": [parameter()], "lr": 1.0, "weight_decay": 1e-4},
    ]
    _, states = trajectory(groups, lambda value: 0.1 * value, 20, momentum=0.9, momentum_quirk="official")
    golden = {
        1: ([0.98999, -1.97998, 0.494995], [0.8999, -1.7998, 0.44995]),
        2: ([0.9805263211, -1.9610526422, 0.49026316055], [0.81387437597, -1.62774875194, 0.406937187985]),
        3: (
            [0.971598295167, -1.94319659033, 0.485799147584],
            [0.739767631687, -1.47953526337, 0.369883815843],
        ),
        10: (
            [0.923310942817, -1.84662188563, 0.461655471408],
            [0.436473665931, -0.872947331863, 0.218236832966],
        ),
        20: (
            [0.895173193985, -1.79034638797, 0.447586596993],
            [0.318548834182, -0.637097668364, 0.159274417091],
        ),
    }
    for step, expected in golden.items():
        for values, reference in zip(states[step - 1], expected, strict=True):
            assert values == pytest.approx(reference, rel=1e-9)


def test_nesterov_looks_ahead():
    group = {"params": [torch.tensor([1.0], dtype=torch.float64, requires_grad=True)], "lr": 0.1, "weight_decay": 0.0}
    optimizer = build_optimizer([group], momentum=0.9, nesterov=True)
    values = []
    for _ in range(2):
        optimizer.param_groups[0]["lr"], group["params"][0].grad = 0.1, torch.ones(1, dtype=torch.float64)
        optimizer.step()
        values.append(group["params"][0].item())
    assert values == pytest.approx([1 - 0.1 * (1 + 0.9), 0.81 - 0.1 * (1 + 0.9 * 1.9)])


def test_steps_divide_the_rate_by_ten():
    schedule = step_decay(every=80)
    assert [schedule(t) for t in (0, 79, 80, 159, 160)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_unknown_quirk_is_refused():
    with pytest.raises(ValueError, match="official or intended"):
        build_optimizer([{"params": [parameter()], "lr": 0.1, "weight_decay": 0.0}], momentum_quirk="fixed")


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Conv2d(3, 4, 1)
        self.head = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 1), torch.nn.BatchNorm2d(2))


def rates(groups):
    """Learning rate and weight decay of each parameter's shape."""
    return {tuple(p.shape): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_new_layers_learn_faster_than_the_backbone():
    groups = backbone_and_new(Network(), lr=0.1, weight_decay=1e-4, new_factor=10)
    assert rates(groups) == {(4, 3, 1, 1): (0.1, 1e-4), (4,): (0.1, 1e-4), (2, 4, 1, 1): (1.0, 1e-4), (2,): (1.0, 1e-4)}


def test_mgd_decays_the_weights_of_convolutions_alone():
    groups = backbone_and_new(Network(), lr=0.1, weight_decay=1e-4, decay_norms=False)
    assert rates(groups) == {(4, 3, 1, 1): (0.1, 1e-4), (4,): (0.1, 0.0), (2, 4, 1, 1): (0.1, 1e-4), (2,): (0.1, 0.0)}
    assert sum(len(group["params"]) for group in groups) == len(list(Network().parameters()))


@pytest.mark.parametrize(("scalars", "of_scalar"), [(False, 0.0), (True, 0.05)])
def test_biases_and_norms_never_decay_and_scalars_by_choice(scalars, of_scalar):
    """`decay_scalars` of mixreorg: the released code spares tensors of one dimension, a temperature has none."""
    tensors = [torch.nn.Parameter(torch.ones(shape)) for shape in ((), (3,), (2, 3), (1, 4, 5))]
    groups = decayed_weights(iter(tensors), weight_decay=0.05, scalars=scalars, lr=0.1, betas=(0.9, 0.95))
    assert rates(groups) == {(): (0.1, of_scalar), (3,): (0.1, 0.0), (2, 3): (0.1, 0.05), (1, 4, 5): (0.1, 0.05)}
    assert [group["betas"] for group in groups] == [(0.9, 0.95)] * 2
    optimizer = build_optimizer(groups, name="adamw")
    for tensor in tensors:
        tensor.grad = torch.zeros_like(tensor)
    optimizer.step()
    assert [tensor.flatten()[0].item() for tensor in tensors] == pytest.approx([1 - 0.1 * of_scalar, 1, 0.995, 0.995])
