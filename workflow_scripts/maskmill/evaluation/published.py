"""What a paper contributes to result tables: the numbers it prints, and the rows its method is judged by."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PaperValue:
    """A published number (percent), and where it stands."""

    value: float
    source: str


Numbers = PaperValue | Mapping[str, PaperValue]  # an mIoU; or several numbers, by metric


@dataclass(frozen=True)
class Headline:
    """A row that a method is judged by, and the row of the same table that it is judged against.

    Attributes:
        row: regular expression that the column `variant` matches as a whole.
        baseline: variant of the baseline; it may use groups of `row` (`\\1`).
        metrics: metrics of the result table that are compared.
    """

    row: str
    baseline: str
    metrics: tuple[str, ...] = ("miou",)


@dataclass(frozen=True)
class Paper:
    """One method's entry.

    Attributes:
        headlines: rows that the summary of all results shows.
        numbers: published numbers by variant, for each (data set,) or (data set, network) of a result table.
    """

    headlines: tuple[Headline, ...]
    numbers: Mapping[tuple[str, ...], Mapping[str, Numbers]] = field(default_factory=dict)
