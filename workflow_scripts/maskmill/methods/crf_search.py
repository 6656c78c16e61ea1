"""The search for DeepLab's CRF settings: a coarse grid, then finer steps around the best setting of the grid."""

from itertools import product


def coarse_settings(grid: dict[str, list[float]], fixed: dict) -> list[dict]:
    """All combinations of a grid's values, each with the fixed settings.

    Args:
        grid: values to try for each setting, by the name that it has in `dense_crf`.
        fixed: settings that do not vary.
    """
    return [{**fixed, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


def fine_settings(best: dict, steps: dict[str, float]) -> list[dict]:
    """All settings within one step of the best coarse one, in every direction; values stay positive.

    Args:
        best: the best of `coarse_settings`.
        steps: step of each setting that varies.
    """
    neighbours = {name: [best[name] - step, best[name], best[name] + step] for name, step in steps.items()}
    return coarse_settings({name: [v for v in values if v > 0] for name, values in neighbours.items()}, best)
