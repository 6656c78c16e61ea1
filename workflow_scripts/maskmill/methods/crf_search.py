"""The settings among which DeepLab chooses its CRF's: a coarse grid, then finer steps around the best."""

from itertools import product


def coarse_settings(grid: dict[str, list[float]], fixed: dict) -> list[dict]:
    """All CRF settings of a grid (name of a setting to its values), completed by the fixed ones."""
    return [{**fixed, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


def fine_settings(best: dict, steps: dict[str, float]) -> list[dict]:
    """The settings one step below, at and above the best coarse one in every direction; values stay positive."""
    around = {name: [best[name] - step, best[name], best[name] + step] for name, step in steps.items()}
    return coarse_settings({name: [v for v in values if v > 0] for name, values in around.items()}, best)
