"""What each method's paper says, one module per method: a new method adds `<method>.py` with its `PAPER`.

The modules are found by their names, so that no list of methods exists here.
"""

import importlib
import pkgutil
from collections.abc import Mapping

from maskmill.evaluation.published import Headline, Numbers, Paper, PaperValue

__all__ = ["ENTRIES", "HEADLINES", "PAPERS", "Headline", "Numbers", "Paper", "PaperValue"]

ENTRIES: dict[str, Paper] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").PAPER for module in pkgutil.iter_modules(__path__)
}
# By method; and published numbers by (method, data set) or (method, data set, network), then by variant.
HEADLINES: dict[str, tuple[Headline, ...]] = {method: paper.headlines for method, paper in ENTRIES.items()}
PAPERS: dict[tuple[str, ...], Mapping[str, Numbers]] = {
    (method, *key): rows for method, paper in ENTRIES.items() for key, rows in paper.numbers.items()
}
