"""Descriptions of stores for the terminal: map stores, merged or not, feature stores and tables."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from maskmill.errors import InputError
from maskmill.storage.access import barred, check_readable
from maskmill.storage.features import Features
from maskmill.storage.maps import check_holds, open_maps, open_store

Facts = dict[str, object]  # values are numbers, text, or Facts


def describe_store(path: str | Path) -> Facts:
    """The contents and the origin of a store.

    Raises:
        InputError: no such file, or not a readable store.
    """
    path = Path(path)
    check_readable(path, "no such store; give an .h5 file below work/")
    try:
        with h5py.File(path, "r") as file:
            if "schema" not in file.attrs and all(isinstance(item, h5py.Dataset) for item in file.values()):
                return _table(path, file)
    except (OSError, RuntimeError) as error:
        raise barred(path, error) or InputError(
            f"{path}: not a readable HDF5 file; give another, or delete it and run again if a rule reads it"
        ) from None
    with open_store(path) as file:
        attributes, holds_maps = dict(file.attrs), "maps" in file
    return _maps(path, attributes) if holds_maps else _features(path, attributes)


def _table(path: Path, file: h5py.File) -> Facts:
    columns = {name: _array(column.dtype, column.shape) for name, column in file.items()}
    return {
        "store": str(path),
        "kind": "table, one dataset per column",
        "columns": columns,
        "size on disk": _size(path),
    }


def _features(path: Path, attributes: Mapping) -> Facts:
    store = Features(path)
    vectors = _array(np.dtype("float16"), (len(store), *store.shape))
    return {
        **_origin(path, attributes, json.loads(attributes["inputs"])),
        "samples": len(store),
        "vectors": vectors,
        "first sample": store.keys[0] if store.keys else "none",
        "size on disk": _size(path),
    }


def _maps(path: Path, attributes: Mapping) -> Facts:
    with open_maps(path) as store:
        files = store.files
        facts = _origin(path, attributes, store.inputs) | {"maps": len(store)}
        if set(files) - {path}:
            facts["shards"] = {str(file): f"{number} maps, {_size(file)}" for file, number in sorted(files.items())}
        facts["size on disk"] = _size(path, *(set(files) - {path}))
        first = next(iter(store), None)
        return facts | ({f"map of {first}": _array_facts(store[first])} if first else {})


def _origin(path: Path, attributes: Mapping, inputs: Mapping[str, str]) -> Facts:
    return {
        "store": str(path),
        "kind": attributes["kind"],
        "schema": int(attributes["schema"]),
        "producer": attributes["producer"],
        "parameters": json.loads(attributes["parameters"]),
        "inputs": {name: f"sha256 {digest}" for name, digest in inputs.items()},
        "versions": json.loads(attributes["versions"]),
    }


def describe_map(path: str | Path, image_id: str, name_of: Callable[[int], str]) -> Facts:
    """The map of one image: shape, dtype, range and attributes; for labels, each class's share of the pixels; for
    planes of known classes, the range of each plane.

    Args:
        name_of: maps a class id to its name.

    Raises:
        InputError: not a readable map store, or it holds no such image.
    """
    with open_maps(path) as store:
        check_holds(store, image_id)
        array, attributes = store[image_id], store.attributes_of(image_id)
        facts: Facts = {"store": str(path), "image": image_id, "kind": store.kind, "map": _array_facts(array)}
    planes = attributes.pop("classes", None)
    facts |= {name: np.asarray(value).tolist() for name, value in attributes.items()}
    if facts["kind"] in ("label", "batch_label"):
        ids, counts = np.unique(array, return_counts=True)
        shares = 100 * counts / max(array.size, 1)
        facts["classes"] = {name_of(int(i)): f"{share:.1f} %" for i, share in zip(ids, shares, strict=True)}
    elif planes is not None and len(planes) == len(array):
        facts["planes"] = {name_of(int(i)): _range(plane) for i, plane in zip(planes, array, strict=True)}
    return facts


def as_text(facts: Facts, indent: str = "") -> str:
    """Facts as lines `name: value`; nested facts are indented below their name."""
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", as_text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {'none' if value == {} else value}")
    return "\n".join(lines)


def _array_facts(array: np.ndarray) -> str:
    return f"{_array(array.dtype, array.shape)}, {_range(array)}"


def _array(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    return f"{dtype} {' x '.join(map(str, shape))}"


def _range(array: np.ndarray) -> str:
    return f"{array.min():.4g} to {array.max():.4g}" if array.size else "empty"


def _size(*paths: Path) -> str:
    size = sum(path.stat().st_size for path in paths)
    unit = next(power for power in (0, 1, 2, 3) if size < 1024 ** (power + 1) or power == 3)
    return f"{size / 1024**unit:.{min(unit, 1)}f} {('bytes', 'KiB', 'MiB', 'GiB')[unit]}"
