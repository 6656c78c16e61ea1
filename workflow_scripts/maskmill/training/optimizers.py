"""SGD with a polynomial learning rate, as in the DeepLab family and IRN."""

from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR


def poly_sgd(parameter_groups: list[dict], *, momentum: float, momentum_quirk: str = "intended") -> SGD:
    """Plain SGD; each group brings its own learning rate and weight decay.

    Args:
        parameter_groups: dicts with `params`, `lr` and `weight_decay`.
        momentum: of all groups, for `intended`.
        momentum_quirk: `intended`, or `official`: IRN's (and BAS's) optimiser class hands the weight decay to
            SGD in the place of the momentum, so the released weights were trained with momentum = weight
            decay (1e-4), and the 0.9 in that code is only the power of the schedule.

    Raises:
        ValueError: another `momentum_quirk`.
    """
    if momentum_quirk not in ("official", "intended"):
        raise ValueError(f"momentum_quirk is {momentum_quirk!r}; choose official or intended")
    official = momentum_quirk == "official"
    groups = [{**group, "momentum": group["weight_decay"] if official else momentum} for group in parameter_groups]
    return SGD(groups, lr=0.0)


def poly_schedule(optimizer: SGD, iterations: int, power: float) -> LambdaLR:
    """Learning rate lr0 (1 - t / iterations)^power at step t = 0, 1, ...; later that of the last step.

    Call its `step()` once after each step of the optimiser.
    """
    return LambdaLR(optimizer, lambda step: (1 - min(step, iterations - 1) / iterations) ** power)
