"""Feature stores: one HDF5 file with a fixed number of vectors for every sample of a shard, in the shard's order.

Layout: `features` float16 [N, V, D], `keys` [N] and `checksums` uint32 [N], the CRC-32 of each row and its key, with
the root attributes of a map store. An unfinished file has another name, and its attribute `done` counts the rows that
are written; a killed run continues from there. Rows are stored contiguously, so that a training reads single rows in
any order.

The format differs from that of map stores (HDF5 1.10), because such a file cannot be opened any more when its process
was killed while writing. The format of HDF5 1.8 can; its metadata have checksums too, and the rows have ours.
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
from maskmill.storage.access import barred
from maskmill.storage.atomic import full_disk_named, partial_path, publish
from maskmill.storage.maps import open_store, sha256, write_attributes

FORMAT = ("v108", "v108")  # oldest and newest HDF5 version of the file's format
BLOCK = 64  # rows that are computed and saved at a time; a kill loses at most one block


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
    """Write a feature store, or continue an unfinished one with the same keys, parameters and inputs.

    Args:
        keys: of the samples.
        compute: maps positions in `keys` to their vectors, [len(range), V, D].
        shape: V and D.
        producer, parameters, inputs: as for `create_maps`.

    Raises:
        InputError: the disk is full.
    """
    with full_disk_named(path):
        _fill(Path(path), keys, compute, shape, producer, parameters, inputs)
        publish(path)


def _fill(
    path: Path,
    keys: Sequence[str],
    compute: Callable[[range], np.ndarray],
    shape: tuple[int, int],
    producer: str,
    parameters: Mapping,
    inputs: Sequence[str | Path],
) -> None:
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
            features.flush()  # otherwise h5py hides a failed write, which would only show when the dataset is closed
            checksums.flush()
            file.attrs["done"] = rows.stop
            file.flush()
        file.attrs["complete"] = True


def _checksum(key: str, row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes(), zlib.crc32(key.encode()))


class Features(Sequence):
    """Read-only sequence of vectors, float16 [V, D] per sample.

    Each process opens the file itself when it first reads. Keys and checksums are kept in memory, so that a sample
    costs one read.

    Attributes:
        path: of the file.
        keys: of the samples, in their order.
        shape: V and D.
        inputs: SHA-256 by file name.
        parameters: as given to `write_features`.

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
        self._features: h5py.Dataset | None = None
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, position: int) -> np.ndarray:  # type: ignore[override]  # no slices
        """Vectors of one sample, float16 [V, D].

        Raises:
            InputError: they differ from those that were written.
        """
        with self._damage_named(self.keys[position]):
            row = self._opened()[position]
            if _checksum(self.keys[position], row) != self._checksums[position]:
                raise OSError("wrong checksum")
        return row

    def _opened(self) -> h5py.Dataset:
        if self._features is None or self._process != os.getpid():  # two processes must not share one HDF5 handle
            self._features, self._process = open_store(self.path)["features"], os.getpid()
        return self._features

    @contextmanager
    def _damage_named(self, part: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            reason = str(error).strip("'\"")
            raise barred(self.path, error) or InputError(
                f"{self.path}: {part} is damaged ({reason}); delete the store and run again"
            ) from None

    def check(self, keys: Sequence[str], source: str | Path, digest: str, dim: int) -> None:
        """Make sure that the store holds vectors of these samples, made with a given file.

        Args:
            keys: of the samples.
            source: the file, e.g. the teacher's weights; for messages.
            digest: SHA-256 of that file as it is now.
            dim: D, numbers per vector.

        Raises:
            InputError: names what differs.
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
    """Whether there is an unfinished file that can be continued.

    Raises:
        InputError: there is one that cannot be opened now.
    """
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
    except (OSError, KeyError) as error:  # none, or cut off by the kill
        if line := barred(partial, error):  # whole perhaps: hours of work, not to be begun anew
            raise line from None
        return False
