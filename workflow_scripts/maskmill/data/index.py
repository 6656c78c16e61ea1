"""The index of a data set: one row per image. All later stages read the index instead of the data set's folders."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskmill.errors import InputError
from maskmill.storage.atomic import write_text

COLUMNS = ("image_id", "image", "mask", "height", "width", "classes", "split")
UNTAGGED = "untagged"  # the split of images of which nobody said what they show; an image without tags shows no class


@dataclass(frozen=True)
class Record:
    """One image.

    Attributes:
        image_id: unique within the data set.
        image: file of the image.
        mask: file of its mask; None where there is none or it may not be read.
        height, width: of the file, pixels.
        classes: the tags, as mask ids in rising order, without background.
        splits: names of the splits that the image belongs to, and `UNTAGGED`.
    """

    image_id: str
    image: Path
    mask: Path | None
    height: int
    width: int
    classes: tuple[int, ...]
    splits: tuple[str, ...]


def write_index(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as CSV: lists inside a field are separated by spaces, a missing mask is an empty field."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for r in records:
        classes = " ".join(map(str, r.classes))
        table.writerow([r.image_id, r.image, r.mask or "", r.height, r.width, classes, " ".join(r.splits)])
    write_text(path, text.getvalue())


def read_index(path: str | Path) -> dict[str, Record]:
    """Read an index; keys are image ids, in the file's order.

    Raises:
        InputError: the file is missing or has other columns.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such index; run snakemake to make it")
    with open(path, newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path}: columns are {table.fieldnames}, not {list(COLUMNS)}; delete it and run again")
        return {row["image_id"]: _record(row) for row in table}


def _record(row: dict[str, str]) -> Record:
    return Record(
        image_id=row["image_id"],
        image=Path(row["image"]),
        mask=Path(row["mask"]) if row["mask"] else None,
        height=int(row["height"]),
        width=int(row["width"]),
        classes=tuple(map(int, row["classes"].split())),
        splits=tuple(row["split"].split()),
    )


def read_ids(path: str | Path) -> list[str]:
    """Read a plain list of ids, one image id per line. Ids are strings ("2007_000032" is not the number 2007000032)."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def shard(ids: Sequence, item: str) -> Sequence:
    """The part of `ids` that belongs to one shard; the sizes of shards differ by at most one.

    Args:
        item: Snakemake's scatter item, e.g. "3-of-8".
    """
    number, count = map(int, item.split("-of-"))
    return ids[number - 1 :: count]
