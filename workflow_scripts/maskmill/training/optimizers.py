"""Optimisers over groups of parameters with learning rates of their own."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer


def build_optimizer(
    parameter_groups: list[dict],
    *,
    name: str = "sgd",
    momentum: float = 0.9,
    momentum_quirk: str = "intended",
    nesterov: bool = False,
) -> Optimizer:
    """SGD, Adam or AdamW; each group brings its own learning rate and weight decay.

    Adam and AdamW silently ignore `momentum`, `momentum_quirk` and `nesterov`, so that a configuration which replaces
    a method's SGD by `{name: adamw}` need not unset them.

    Args:
        parameter_groups: dicts with `params`, `lr` and, where parameters decay, `weight_decay`.
        name: `sgd`; `adam`; or `adamw`, with which small networks learn from scratch within a minute.
        momentum: SGD's momentum in all groups, where `momentum_quirk` is `intended`.
        momentum_quirk: `intended`, or `official`: the optimiser class of IRN and BAS hands the weight decay to SGD in
            the place of the momentum, so the released weights were trained with momentum = weight decay (1e-4), and
            the 0.9 in that code is only the power of the schedule.
        nesterov: SGD's momentum in Nesterov's form.

    Raises:
        ValueError: another name or quirk.
    """
    if name in ("adam", "adamw"):
        return {"adam": Adam, "adamw": AdamW}[name](parameter_groups)
    if name != "sgd":
        raise ValueError(f"optimizer is {name!r}; choose sgd, adam or adamw")
    if momentum_quirk not in ("official", "intended"):
        raise ValueError(f"momentum_quirk is {momentum_quirk!r}; choose official or intended")
    official = momentum_quirk == "official"
    groups = [{**group, "momentum": group["weight_decay"] if official else momentum} for group in parameter_groups]
    return SGD(groups, lr=0.0, momentum=momentum, nesterov=nesterov)


def backbone_and_new(
    network: nn.Module, *, lr: float, weight_decay: float, new_factor: float = 1.0, decay_norms: bool = True
) -> list[dict]:
    """Parameter groups of a network with a backbone; all other layers are new.

    Args:
        lr: of the backbone; new layers have `new_factor` times it.
        weight_decay: of all parameters or, without `decay_norms`, of the weights of convolutions alone (MGD).
    """
    groups = []
    for new in (False, True):
        own = [p for name, p in network.named_parameters() if ("backbone." not in name) == new]
        rate = lr * new_factor if new else lr
        if decay_norms:
            groups.append({"params": own, "lr": rate, "weight_decay": weight_decay})
        else:
            groups += decayed_weights(own, lr=rate, weight_decay=weight_decay)
    return groups


def decayed_weights(
    parameters: Iterable[nn.Parameter], *, weight_decay: float, scalars: bool = False, **options
) -> list[dict]:
    """Two groups: weights of layers, and biases and norms, which do not decay.

    Args:
        scalars: whether parameters without dimensions decay too.
        options: of both groups, such as `lr`.
    """
    parameters = list(parameters)
    decayed = [p for p in parameters if p.ndim > 1 or (p.ndim == 0 and scalars)]
    others = [p for p in parameters if p.ndim == 1 or (p.ndim == 0 and not scalars)]
    return [
        {"params": decayed, "weight_decay": weight_decay, **options},
        {"params": others, "weight_decay": 0.0, **options},
    ]
