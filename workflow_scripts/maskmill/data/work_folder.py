"""What a file in a work folder (`work/<scale>/<dataset>/...`) belongs to: the index and classes of its data set."""

import dataclasses
from pathlib import Path

from maskmill.data.catalog import DATASETS, OWN, Dataset, find_dataset
from maskmill.data.images import BIASED, IGNORE
from maskmill.data.index import Record, read_index
from maskmill.errors import InputError

SPECIAL = {BIASED: "removed as biased", IGNORE: "ignore"}


def find_index(path: str | Path) -> Path | None:
    """The nearest `index.csv` in the folders above a file; None where there is none."""
    folders = Path(path).resolve().parents
    return next((folder / "index.csv" for folder in folders if (folder / "index.csv").exists()), None)


def dataset_of(name: str | None, index: str | Path | None) -> Dataset | None:
    """The data set of a name or, where none is given, of an index's folder; None where that is no data set's.

    Raises:
        InputError: there is no data set of this name.
    """
    known = (*DATASETS, OWN) if index else tuple(DATASETS)
    if name and name not in known:
        raise InputError(f"--dataset: {name!r} is not one of {', '.join(known)}")
    name = name or (Path(index).resolve().parent.name if index else "")
    return find_dataset(name, index) if name in known else None


def located_records(index: str | Path) -> dict[str, Record]:
    """An index whose images and masks are found from any folder: relative paths begin where `work` lies."""
    parents = Path(index).resolve().parents
    root = parents[3] if len(parents) > 3 else Path()

    def located(path: Path | None) -> Path | None:
        return root / path if path and (root / path).exists() else path

    return {
        image_id: dataclasses.replace(record, image=located(record.image), mask=located(record.mask))
        for image_id, record in read_index(index).items()
    }


def class_name(number: int, dataset: Dataset | None) -> str:
    """What an id in a label map means; the number itself where that is not known."""
    if number in SPECIAL:
        return SPECIAL[number]
    return dataset.classes[number] if dataset and number < dataset.num_classes else f"class {number}"
