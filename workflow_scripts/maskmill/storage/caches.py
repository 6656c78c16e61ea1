"""Stores of what a teacher said, as students open them: of whole images, or of the batches of a training."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from maskmill.errors import InputError
from maskmill.storage.maps import Maps, check_origin, open_maps


def open_cache(path: str | Path, teacher: str | Path, ids: Iterable[str], short_side: int | None) -> Maps:
    """Open a store that `cache_labels` wrote, for a training on `ids` at a working size.

    Raises:
        InputError: as `open_maps`; it is another teacher's, was made at another working size, or lacks an image.
    """
    store = open_maps(path)
    check_origin(store, teacher)
    made = json.loads(store.attributes["parameters"]).get("short_side")
    if made != short_side:
        sizes = [json.dumps(size) for size in (made, short_side)]
        raise InputError(f"{path}: was made at short_side {sizes[0]}, not {sizes[1]}; delete it and run snakemake")
    missing = sorted(set(ids).difference(store))
    if missing:
        first = f"{missing[0]} ({len(missing):,} such)"
        raise InputError(f"{path}: has no map of image {first}; delete it and run snakemake")
    return store


def batch_name(iteration: int) -> str:
    """What a store calls the batch of an iteration, counted from 0."""
    return f"batch_{iteration:06d}"


def open_batches(path: str | Path, origin: Iterable[str | Path], parameters: Mapping, iterations: int) -> Maps:
    """Open a store that `cache_batches` wrote, for a training whose batches are the same.

    Args:
        origin: files that it must have been made from: the teacher and both id lists.
        parameters: what shapes the batches and what the teacher says of them, as the store must have it.
        iterations: how many batches the training reads.

    Raises:
        InputError: as `open_maps`; it was made from other files, with other parameters, or lacks a batch.
    """
    store = open_maps(path)
    for source in origin:
        check_origin(store, source)
    made, wanted = json.loads(store.attributes["parameters"]), json.loads(json.dumps(parameters))
    for name, value in wanted.items():
        if made.get(name) != value:
            values = [json.dumps(v) for v in (made.get(name), value)]
            raise InputError(f"{path}: was made with {name} {values[0]}, not {values[1]}; delete it and run snakemake")
    missing = [number for number in range(iterations) if batch_name(number) not in store]
    if missing:
        first = f"{missing[0]} ({len(missing):,} of {iterations:,} lack)"
        raise InputError(f"{path}: has no batch of iteration {first}; delete it and run snakemake")
    return store
