"""Small tables of arrays in HDF5: one dataset a column, all with the same number of rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from maskmill.errors import InputError
from maskmill.storage.atomic import atomic_path


def write_table(path: str | Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns (arrays of numbers, or of strings) to `path`, atomically."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in columns.items():
            text = np.asarray(values).dtype.kind == "U"
            file.create_dataset(name, data=np.char.encode(values, "utf-8") if text else values)


def read_tables(paths: Iterable[str | Path]) -> dict[str, np.ndarray]:
    """Read tables with the same columns and join their rows in the order of `paths`; strings come back as str.

    Raises:
        InputError: a file is missing or cut off.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for path in paths:
        try:
            with h5py.File(path, "r") as file:
                for name, dataset in file.items():
                    values = dataset[()]
                    text = values.dtype.kind == "S"
                    parts.setdefault(name, []).append(np.char.decode(values, "utf-8") if text else values)
        except OSError:
            raise InputError(f"{path}: not a readable HDF5 file; delete it and run again") from None
    return {name: np.concatenate(values) for name, values in parts.items()}
