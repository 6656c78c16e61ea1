"""Stores of teacher outputs, which students read: of whole images, or of the batches of a training."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maskmill.errors import InputError
from maskmill.storage.maps import Maps, MapWriter, check_origin, create_maps, open_maps


def open_cache(path: str | Path, teacher: str | Path, ids: Iterable[str], short_side: int | None) -> Maps:
    """Open a store that `cache_labels` wrote, for a training on `ids` at a working size.

    Raises:
        InputError: as `open_maps`; it is another teacher's, was made at another working size, or lacks an image.
    """
    store = open_maps(path)
    check_origin(store, teacher)
    stored_side = json.loads(store.attributes["parameters"]).get("short_side")
    if stored_side != short_side:
        sizes = [json.dumps(size) for size in (stored_side, short_side)]
        raise InputError(f"{path}: was made at short_side {sizes[0]}, not {sizes[1]}; delete it and run snakemake")
    missing = sorted(set(ids).difference(store))
    if missing:
        first = f"{missing[0]} ({len(missing):,} such)"
        raise InputError(f"{path}: has no map of image {first}; delete it and run snakemake")
    return store


# Stores of the batches of a training


class BatchStore(NamedTuple):
    """What one store has of each batch: the teacher that it comes from, and its kind of map."""

    teacher: str
    kind: str


# MGD's stores, by name. L_R compares features with the wide teacher's, L_I logits with the deep one's.
BATCH_STORES = {
    "wide_labels": BatchStore("wide", "batch_label"),
    "relation": BatchStore("wide", "relation"),
    "deep_labels": BatchStore("deep", "batch_label"),
    "pooled": BatchStore("deep", "logits"),
}


def batch_name(iteration: int) -> str:
    """The name of an iteration's batch in a store; iterations count from 0."""
    return f"batch_{iteration:06d}"


def batch_parameters(
    *,
    augmentation: dict,
    cutmix: dict | None,
    pairing: str,
    short_side: int | None,
    teacher_batchnorm: str,
    padding_counts: bool,
    min_confidence: float,
    seed: int,
    batch_size: int,
) -> dict:
    """What shapes MGD's batches, and the teacher outputs that are stored of them: `parameters` of their stores."""
    return {
        "augmentation": augmentation,
        "cutmix": cutmix,
        "pairing": pairing,
        "short_side": short_side,
        "teacher_batchnorm": teacher_batchnorm,
        "padding_counts": padding_counts,
        "min_confidence": min_confidence,
        "seed": seed,
        "batch_size": batch_size,
    }


@contextmanager
def create_batches(
    paths: Mapping[str, str | Path],
    teachers: Mapping[str, str | Path],
    lists: Sequence[str | Path],
    parameters: Mapping,
) -> Iterator[dict[str, MapWriter]]:
    """Create the stores named in `paths`, keys of `BATCH_STORES`; see `create_maps`.

    Args:
        teachers: checkpoints of the teachers, by name.
        lists: id lists of the images that batches are drawn from.
        parameters: as `batch_parameters` gives them.
    """
    with ExitStack() as stack:
        stores = {}
        for name, path in paths.items():
            teacher, kind = BATCH_STORES[name]
            inputs = [teachers[teacher], *lists]
            store = create_maps(path, kind, producer="cache_batches", parameters=parameters, inputs=inputs)
            stores[name] = stack.enter_context(store)
        yield stores


def read_batches(
    paths: Iterable[str | Path],
    teachers: Mapping[str, str | Path],
    lists: Sequence[str | Path],
    parameters: Mapping,
    iterations: int,
) -> Callable[[int], dict[str, np.ndarray]]:
    """A function that reads what all stores have of the batch of an iteration, by the stores' names.

    Args:
        paths: files named as the keys of `BATCH_STORES`.
        teachers, lists, parameters: as for `create_batches`.
        iterations: number of batches that the training reads.

    Raises:
        InputError: as `open_batches`.
    """
    stores = {}
    for path in paths:
        name = Path(path).stem
        origin = [teachers[BATCH_STORES[name].teacher], *lists]
        stores[name] = open_batches(path, origin, parameters, iterations)
    return lambda iteration: {name: store[batch_name(iteration)] for name, store in stores.items()}


def open_batches(path: str | Path, origin: Iterable[str | Path], parameters: Mapping, iterations: int) -> Maps:
    """Open a store of batches, for a training that draws the same batches.

    Args:
        origin: files that it must have been made from: the teacher and both id lists.
        parameters: what shapes the batches and the teacher's outputs; the store must have the same.
        iterations: number of batches that the training reads.

    Raises:
        InputError: as `open_maps`; it was made from other files, with other parameters, or lacks a batch.
    """
    store = open_maps(path)
    for source in origin:
        check_origin(store, source)
    stored, wanted = json.loads(store.attributes["parameters"]), json.loads(json.dumps(parameters))
    for name, value in wanted.items():
        if stored.get(name) != value:
            values = [json.dumps(v) for v in (stored.get(name), value)]
            raise InputError(f"{path}: was made with {name} {values[0]}, not {values[1]}; delete it and run snakemake")
    missing = [number for number in range(iterations) if batch_name(number) not in store]
    if missing:
        first = f"{missing[0]} ({len(missing):,} of {iterations:,} lack)"
        raise InputError(f"{path}: has no batch of iteration {first}; delete it and run snakemake")
    return store
