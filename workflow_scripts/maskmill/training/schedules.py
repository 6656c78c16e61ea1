"""Learning-rate schedules: factors on the initial rate, as functions of the iteration counted from 0."""

import math
from collections.abc import Callable


def poly(iterations: int, power: float = 0.9) -> Callable[[int], float]:
    """(1 - t / iterations)^power."""
    return lambda t: (1 - min(t, iterations - 1) / iterations) ** power


def step_decay(every: int, factor: float = 0.1) -> Callable[[int], float]:
    """`factor` to the power of the number of whole periods of `every` iterations."""
    return lambda t: factor ** (t // every)


def warmup_cosine(iterations: int, warmup: int, start: float, end: float) -> Callable[[int], float]:
    """A line from `start` up to 1 over the first `warmup` iterations, then a cosine down to `end` at the last.

    The cosine starts with 1 at iteration 0: the warm-up is a part of its period, as in timm's `CosineLRScheduler`.
    """

    def factor(t: int) -> float:
        if t < warmup:
            return start + t * (1 - start) / warmup
        return end + (1 - end) * (1 + math.cos(math.pi * t / iterations)) / 2

    return factor


def warmup_then_cosine(iterations: int, warmup: int) -> Callable[[int], float]:
    """A line from 0 up to 1 over the first `warmup` iterations, then half a cosine from 1 to 0 over the others, as in
    MAE's `adjust_learning_rate`."""

    def factor(t: int) -> float:
        if t < warmup:
            return t / warmup
        return (1 + math.cos(math.pi * (t - warmup) / (iterations - warmup))) / 2

    return factor


def constant(iteration: int) -> float:
    """No schedule."""
    return 1.0


def iterations_of(
    epochs: float, images: int, batch_size: int, limit: int | None = None, *, drop_last: bool = True
) -> int:
    """Iterations of `epochs` epochs; at least 1, at most `limit`.

    Args:
        drop_last: whether the last, incomplete batch of an epoch is no iteration.
    """
    batches = images // batch_size if drop_last else math.ceil(images / batch_size)
    iterations = max(1, round(epochs * max(1, batches)))
    return iterations if limit is None else min(iterations, limit)
