"""Feature stores: one HDF5 file with a fixed number of vectors for every sample of a shard, in the shard's order.

Layout: `features` float16 [N, V, D] and `keys` [N], with the root attributes of a map store. While it is made, the file
lies under another name, and `done` says how many rows are in it; a killed run goes on from there. Rows lie behind one
another, so that a training reads single ones in any order.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import full_disk_named, partial_path, publish
from maskmill.storage.maps import open_store, sha256, write_attributes

BLOCK = 64  # rows between two states to go on from


def write_features(
    path: str | Path,
    keys: Sequence[str],
    compute: Callable[[range], np.ndarray],
    shape: tuple[int, int],
    *,
    producer: str,
    parameters: Mapping,
    inputs: Sequence[str | Path],
) -> None:
    """Make a feature store, or go on with an unfinished one of the same keys, parameters and inputs.

    Args:
        keys: of the samples.
        compute: positions in `keys` to their vectors, [len(range), V, D].
        shape: V and D.
        producer, parameters, inputs: as for `create_maps`.
    """
    with full_disk_named(path):
        _fill(Path(path), keys, compute, shape, producer, parameters, inputs)
        publish(path)


def _fill(path, keys, compute, shape, producer, parameters, inputs) -> None:
    partial = partial_path(path)
    if not _continues(partial, keys, shape, parameters, inputs):
        with h5py.File(partial, "w") as file:
            write_attributes(file, "features", producer, parameters, inputs)
            file["keys"] = np.array(keys, h5py.string_dtype())
            file.create_dataset("features", (len(keys), *shape), np.float16)
            file.attrs["done"] = 0
    with h5py.File(partial, "r+") as file:
        for start in progress(range(file.attrs["done"], len(keys), BLOCK), path.stem, unit="block"):
            rows = range(start, min(start + BLOCK, len(keys)))
            file["features"][rows.start : rows.stop] = compute(rows)
            file.attrs["done"] = rows.stop
            file.flush()
        file.attrs["complete"] = True


class Features(Sequence):
    """Read-only sequence of float16 [V, D]. Each process opens the file for itself, when it first reads.

    Raises:
        InputError: no such file, or not a finished feature store.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with open_store(self.path) as file:
            self.keys = [key.decode() for key in file["keys"]]
            self.shape = file["features"].shape[1:]
            self.inputs = json.loads(file.attrs["inputs"])
        self._file, self._process = None, os.getpid()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> np.ndarray:
        if self._file is None or self._process != os.getpid():  # two processes must not share one HDF5 handle
            self._file, self._process = open_store(self.path), os.getpid()
        return self._file["features"][position]

    def check(self, keys: Sequence[str], source: str | Path, dim: int) -> None:
        """Make sure that the store holds these samples' vectors, of `dim` numbers and made with `source` as it is now.

        Raises:
            InputError: it does not.
        """
        if self.shape[1] != dim:
            raise InputError(
                f"{self.path}: holds vectors of {self.shape[1]} numbers, but those of {source} have {dim}; delete the "
                "store and run again, or name the teacher it was made with"
            )
        if sha256(source) not in self.inputs.values():
            raise InputError(f"{self.path}: was not made with {source} as it is now; delete the store and run again")
        if self.keys != list(keys):
            raise InputError(f"{self.path}: holds other samples than its shard; delete the store and run again")

    def __getstate__(self) -> dict:
        return vars(self) | {"_file": None, "_process": None}


def _continues(partial: Path, keys: Sequence[str], shape: tuple[int, int], parameters: Mapping, inputs) -> bool:
    """Whether an unfinished file is there to go on with."""
    try:
        with h5py.File(partial, "r") as file:
            same = [key.decode() for key in file["keys"]] == list(keys) and file["features"].shape[1:] == shape
            origin = json.loads(file.attrs["parameters"]), list(json.loads(file.attrs["inputs"]).values())
            return same and "done" in file.attrs and origin == (dict(parameters), [sha256(path) for path in inputs])
    except (OSError, KeyError):  # none, or cut off by the kill
        return False
