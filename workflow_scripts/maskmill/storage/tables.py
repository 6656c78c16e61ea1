"""Small tables of arrays in HDF5: one dataset per column, all with the same number of rows.

Data and metadata have checksums, as in map stores.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from maskmill.errors import InputError
from maskmill.storage.access import barred, check_readable
from maskmill.storage.atomic import atomic_path
from maskmill.storage.maps import FORMAT


def write_table(path: str | Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write a table to `path`, atomically.

    Args:
        columns: arrays [N, ...] of numbers or strings, by name.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w", libver=FORMAT) as file:
        for name, values in columns.items():
            data = np.asarray(values)
            data = np.char.encode(data, "utf-8") if data.dtype.kind == "U" else data
            options = {"chunks": True, "fletcher32": True} if data.size else {}
            dataset = file.create_dataset(name, data=data, **options)
            dataset.flush()  # otherwise h5py hides a failed write, which would only show when the dataset is closed


def read_tables(paths: Iterable[str | Path]) -> dict[str, np.ndarray]:
    """Read tables with the same columns and concatenate their rows in the order of `paths`; columns of strings have
    dtype str.

    Raises:
        InputError: a file is missing, cannot be opened now, is cut off or damaged.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for path in paths:
        for name, values in _read(path).items():
            text = values.dtype.kind == "S"
            parts.setdefault(name, []).append(np.char.decode(values, "utf-8") if text else values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _read(path: str | Path) -> dict[str, np.ndarray]:
    check_readable(path, "no such table; run snakemake to make it")
    try:
        with h5py.File(path, "r") as file:
            return {name: file[name][()] for name in file}
    except (OSError, RuntimeError, KeyError) as error:
        reason = str(error).strip("'\"")
        raise barred(path, error) or InputError(
            f"{path}: not a readable HDF5 file, or damaged ({reason}); delete it and run again"
        ) from None
