"""Feature stores: one HDF5 file with a fixed number of vectors for every sample of a shard, in the shard's order.

Layout: `features` float16 [N, V, D], `keys` [N] and `checksums` uint32 [N], a CRC-32 of each row and its key, with the
root attributes of a map store. While it is made, the file lies under another name, and `done` says how many rows are in
it; a killed run goes on from there. Rows lie behind one another, so that a training reads single ones in any order.

The format is not that of a map store: from HDF5's 1.10 on, a file that was open for writing when its process was killed
cannot be opened any more. In this one the metadata have checksums as well, and rows have ours.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from maskmill.errors import InputError
from maskmill.progress import progress
from maskmill.storage.atomic import full_disk_named, partial_path, publish
from maskmill.storage.maps import open_store, sha256, write_attributes

FORMAT = ("v108", "v108")  # of the file
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
        with h5py.File(partial, "w", libver=FORMAT) as file:
            write_attributes(file, "features", producer, parameters, inputs)
            file["keys"] = np.array(keys, h5py.string_dtype())
            file.create_dataset("features", (len(keys), *shape), np.float16)
            file.create_dataset("checksums", len(keys), np.uint32)
            file.attrs["done"] = 0
    with h5py.File(partial, "r+", libver=FORMAT) as file:
        features, checksums = file["features"], file["checksums"]
        for start in progress(range(file.attrs["done"], len(keys), BLOCK), path.stem, unit="block"):
            rows = range(start, min(start + BLOCK, len(keys)))
            block = np.asarray(compute(rows), np.float16)
            features[rows.start : rows.stop] = block
            checksums[rows.start : rows.stop] = [_checksum(keys[i], row) for i, row in zip(rows, block, strict=True)]
            features.flush()  # h5py swallows the error of a dataset that cannot be written when it is given up
            checksums.flush()
            file.attrs["done"] = rows.stop
            file.flush()
        file.attrs["complete"] = True


def _checksum(key: str, row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes(), zlib.crc32(key.encode()))


class Features(Sequence):
    """Read-only sequence of float16 [V, D]. Each process opens the file for itself, when it first reads; keys and
    checksums are held in memory, so that a sample costs one read.

    Raises:
        InputError: no such file, or not a finished feature store.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with open_store(self.path) as file, self._damage_named("its list of samples"):
            self.keys = [key.decode() for key in file["keys"]]
            self.shape = file["features"].shape[1:]
            self.inputs = json.loads(file.attrs["inputs"])
            self.parameters = json.loads(file.attrs["parameters"])
            self._checksums = file["checksums"][:]
        self._features, self._process = None, os.getpid()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> np.ndarray:
        """One sample's vectors.

        Raises:
            InputError: they are not those that were written.
        """
        with self._damage_named(self.keys[position]):
            if self._features is None or self._process != os.getpid():  # two processes must not share one HDF5 handle
                self._features, self._process = open_store(self.path)["features"], os.getpid()
            row = self._features[position]
            if _checksum(self.keys[position], row) != self._checksums[position]:
                raise OSError("wrong checksum")
        return row

    @contextmanager
    def _damage_named(self, part: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            reason = str(error).strip("'\"")
            raise InputError(f"{self.path}: {part} is damaged ({reason}); delete the store and run again") from None

    def check(self, keys: Sequence[str], source: str | Path, digest: str, dim: int) -> None:
        """Make sure that the store holds these samples' vectors, of `dim` numbers and made with `source`, whose SHA-256
        is `digest` now.

        Raises:
            InputError: it does not.
        """
        if self.shape[1] != dim:
            raise InputError(
                f"{self.path}: holds vectors of {self.shape[1]} numbers, but those of {source} have {dim}; delete the "
                "store and run again, or name the teacher it was made with"
            )
        if digest not in self.inputs.values():
            raise InputError(f"{self.path}: was not made with {source} as it is now; delete the store and run again")
        if self.keys != list(keys):
            raise InputError(f"{self.path}: holds other samples than its shard; delete the store and run again")

    def __getstate__(self) -> dict:
        return vars(self) | {"_features": None, "_process": None}


def _continues(partial: Path, keys: Sequence[str], shape: tuple[int, int], parameters: Mapping, inputs) -> bool:
    """Whether an unfinished file is there to go on with."""
    try:
        with h5py.File(partial, "r") as file:
            same = [key.decode() for key in file["keys"]] == list(keys) and file["features"].shape[1:] == shape
            origin = json.loads(file.attrs["parameters"]), list(json.loads(file.attrs["inputs"]).values())
            return (
                same
                and "checksums" in file
                and "done" in file.attrs
                and origin == (dict(parameters), [sha256(path) for path in inputs])
            )
    except (OSError, KeyError):  # none, or cut off by the kill
        return False
