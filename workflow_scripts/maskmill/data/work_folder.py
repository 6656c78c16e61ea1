"""The index and the classes that a file in a work folder (`work/<scale>/<dataset>/...`) belongs to."""

import dataclasses
from pathlib import Path

from maskmill.data.catalog import DATASETS, OWN, Dataset, find_dataset
from maskmill.data.images import BIASED, IGNORE
from maskmill.data.index import Record, read_index
from maskmill.errors import InputError

SPECIAL = {BIASED: "removed as biased", IGNORE: "ignore"}


def find_index(path: str | Path) -> Path | None:
    """The nearest `index.csv` in the folders above a file, or None."""
    folders = Path(path).resolve().parents
    return next((folder / "index.csv" for folder in folders if (folder / "index.csv").exists()), None)


def dataset_of(name: str | None, index: str | Path | None) -> Dataset | None:
    """A data set by its name or, without one, by the folder of an index; None where that is not a data set's folder.

    Raises:
        InputError: there is no data set of this name, or no such index; the message is of an option.
    """
    if index and not Path(index).is_file():
        raise InputError(f"{index}: no such index of images; correct --index")
    known = (*DATASETS, OWN) if index else tuple(DATASETS)
    if name and name not in known:
        raise InputError(f"--dataset: {name!r} is not one of {', '.join(known)}")
    name = name or (Path(index).resolve().parent.name if index else "")
    return find_dataset(name, index or "") if name in known else None


def located_records(index: str | Path) -> dict[str, Record]:
    """The records of an index with paths that are valid from any current folder.

    Relative paths in an index start at the folder that contains `work`.

    Raises:
        InputError: as `read_index`.
    """
    parents = Path(index).resolve().parents
    root = parents[3] if len(parents) > 3 else Path()

    def located(path: Path) -> Path:
        return root / path if (root / path).exists() else path

    return {
        image_id: dataclasses.replace(
            record, image=located(record.image), mask=None if record.mask is None else located(record.mask)
        )
        for image_id, record in read_index(index).items()
    }


def class_name(number: int, dataset: Dataset | None) -> str:
    """The meaning of an id in a label map; `class <number>` where it is unknown."""
    if number in SPECIAL:
        return SPECIAL[number]
    return dataset.classes[number] if dataset and number < dataset.num_classes else f"class {number}"
