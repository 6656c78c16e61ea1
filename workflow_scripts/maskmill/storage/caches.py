"""Stores of what a teacher said, as students open them."""

import json
from collections.abc import Iterable
from pathlib import Path

from maskmill.errors import InputError
from maskmill.storage.maps import Maps, check_origin, open_maps


def open_cache(path: str | Path, teacher: str | Path, ids: Iterable[str], short_side: int | None) -> Maps:
    """Open a store that `cache_teacher` wrote, for a training on `ids` at a working size.

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
