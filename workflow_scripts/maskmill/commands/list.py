"""Say what a store holds and where it comes from, or list the stores below a folder.

By hand: maskmill list
         maskmill list work/sample/voc/mars/irn/pseudo_labels.h5
         maskmill list work/sample/voc/mars/irn/pseudo_labels.h5 2012_000001
In: `store`, an .h5 file of the workflow (maps, merged shards, features or a table), or a folder. Out: lines on stdout.
A store: its kind, size, number of maps, and what made it. With `image`: that image's map alone, with its shape and
range and, for labels, the share of the pixels that each class has. A folder: one line per store below it.
"""

import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from maskmill.data.work_folder import class_name, dataset_of, find_index
from maskmill.errors import InputError
from maskmill.storage.describe import as_text, describe_map, describe_store

logger = logging.getLogger(__name__)


def main(store: str = "work", image: str | None = None, dataset: str | None = None) -> None:
    """Print what a store, one of its maps, or a folder holds.

    Args:
        store: .h5 file of the workflow, or a folder, whose stores are listed
        image: id of one image; its map is described instead of the store
        dataset: name of the data set whose classes the map has; default: that of the work folder that the store is in
    """
    if Path(store).is_dir():
        if image is not None:
            raise InputError(f"{store}: is a folder; with --image give one store, or see 'maskmill show'")
        print("\n".join(folder_lines(store)))
        return
    if Path(store).exists() and Path(store).suffix != ".h5":
        raise InputError(f"{store}: not a store; stores are .h5 files below work/, 'maskmill list work' lists them")
    if store == "work" and not Path(store).exists():
        raise InputError("work: no such folder here; change to the folder where you run snakemake, or give a store")
    if image is None:
        print(as_text(describe_store(store)))
    else:
        name_of = partial(class_name, dataset=dataset_of(dataset, find_index(store)))
        print(as_text(describe_map(store, image, name_of)))


def folder_lines(folder: str | Path) -> list[str]:
    """One line per store below a folder: its path, kind, number of maps or samples, and size on disk.

    Raises:
        InputError: there is no store below the folder.
    """
    files = store_files(folder)
    if not files:
        raise InputError(f"{folder}: no stores (.h5 files) below it; give a folder below work/, e.g. work/sample/voc")
    rows = [(str(file), *map(str, outline(file))) for file in files]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def outline(file: Path) -> tuple[str, str, str]:
    """Kind, number of maps or samples, and size on disk of a store; the reason, where it cannot be read."""
    try:
        facts = describe_store(file)
    except InputError as error:
        return str(error).removeprefix(f"{file}: "), "", ""
    number = next((f"{facts[name]} {name}" for name in ("maps", "samples") if name in facts), "")
    return str(facts["kind"]).split(",")[0], number, str(facts["size on disk"])


def store_files(folder: str | Path) -> list[Path]:
    """The stores below a folder, also in linked ones, in the order of their paths; of a merged store and its shards,
    the merged one."""
    return [
        path
        for path in sorted(file for place in folders_of(folder) for file in place.glob("*.h5"))
        if not (re.fullmatch(r"\d+-of-\d+", path.stem) and path.parent.with_suffix(".h5").exists())
    ]


def folders_of(top: str | Path) -> Iterator[Path]:
    """A folder and all below it, each once, whatever links lead to it; a link is followed last."""
    seen: set[Path] = set()
    waiting = [Path(top)]
    while waiting:
        place = waiting.pop(0)
        if place.resolve() in seen:
            continue
        seen.add(place.resolve())
        yield place
        try:
            below = [path for path in place.iterdir() if path.is_dir()]
        except OSError as error:
            logger.warning("left out: %s: %s", place, error.strerror)
            continue
        links = [path for path in below if path.is_symlink()]
        waiting = [path for path in below if path not in links] + waiting + links
