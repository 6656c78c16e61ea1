"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

MININTERVAL = 0.5 if sys.stderr.isatty() else 15.0  # seconds


def progress(items: Iterable, desc: str, unit: str = "image") -> tqdm:
    """Iterate over `items` (of known length) with a bar on stderr."""
    return tqdm(items, desc=desc, unit=unit, mininterval=MININTERVAL)
