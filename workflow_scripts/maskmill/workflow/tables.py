"""What a method registers: its table, its pictures, and how its labels are scored.

A rules file fills one `Table` and adds it to `TABLES`; no other rules file lists methods.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of a result table.

    Attributes:
        name: the row's name, such as student/mars.
        scores: CSV file of its scores.
        role: the split that it was scored on: train, labelled_train or val.
        cost: CSV file with further figures of the row: its network's cost, or the health of its training.
    """

    name: str
    scores: str
    role: str = "val"
    cost: str | None = None


def _nothing(dataset: str) -> list:
    return []


@dataclass(frozen=True, kw_only=True)
class Table:
    """A method's result table, `results/<method>_<dataset>_miou.csv`, and the pictures beside it.

    All functions map the name of a data set to a list.

    Attributes:
        title: the method's name in `snakemake --report`.
        datasets: the data sets that the table can be made for.
        rows: the rows, baselines included.
        compared: groups of row names, the baseline first, whose IoU per class is drawn side by side.
        trainings: checkpoints whose losses are drawn.
        curves: label to CSV file of scores over thresholds, with {dataset} in the path; drawn in one picture.
        extras: further files that are made with the table.
        default: data sets whose table belongs to the default target.
        published: whether the paper's numbers stand beside the rows.
        builds_on: sections of other methods that the rows depend on.
        note: what the column `data` says of the rows besides the images.
        manifest: JSON files with counts and sources of the labelled images, for tables of a partition.
        exported: the checkpoint of a row's network, with {network} for the row, for `models/<method>_<row>.onnx`;
            None where networks are not exported.
    """

    title: str
    datasets: list[str]
    rows: Callable[[str], list[Row]]
    compared: Callable[[str], list[list[str]]]
    trainings: Callable[[str], list[str]]
    curves: dict[str, str] | None = None
    extras: Callable[[str], list[str]] = _nothing
    default: tuple[str, ...] = ("voc",)
    published: bool = True
    builds_on: tuple[str, ...] = ()
    note: str = ""
    manifest: Callable[[str], list[str]] = _nothing
    exported: Callable[[str], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How labels in one folder of a data set's work folder are scored.

    Attributes:
        background: whether the background counts, for a data set.
        boundary: whether scores at object boundaries are added.
        left_out: names of classes that the method never learned, for a data set.
        foreground: store of the same labels without the background's threshold, given the data set and the store's
            path in its work folder; an empty list where there is none.
    """

    background: Callable[[str], bool] = lambda dataset: True
    boundary: bool = False
    left_out: Callable[[str], list[str]] = _nothing
    foreground: Callable[[str, str], list[str]] = lambda dataset, store: []
