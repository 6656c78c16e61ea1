"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

MININTERVAL = 0.5 if sys.stderr.isatty() else 15.0  # seconds


def progress(items: Iterable, desc: str, unit: str = "image", total: int | None = None) -> tqdm:
    """Iterate over `items` with a bar on stderr; give `total` where they have no length."""
    return tqdm(items, desc=desc, unit=unit, total=total, mininterval=MININTERVAL)
