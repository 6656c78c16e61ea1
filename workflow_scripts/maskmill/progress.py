"""Progress bars: updated often on a terminal, rarely in a log file."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

MININTERVAL = 0.5 if sys.stderr.isatty() else 15.0  # seconds


def progress(items: Iterable, desc: str, unit: str = "image", total: int | None = None) -> tqdm:
    """Iterate over `items` with a progress bar on stderr; `total` is their number where they have no length."""
    return tqdm(items, desc=desc, unit=unit, total=total, mininterval=MININTERVAL)
