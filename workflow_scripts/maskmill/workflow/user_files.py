"""Digests of files that the user brings: an edited list or a replaced mask rebuilds what was made from it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from maskmill.data.catalog import DATASETS
from maskmill.data.images import SUFFIXES
from maskmill.data.own_files import MASK_SUFFIXES, listed


def content_digest(path: str | Path | None) -> str | None:
    """SHA-256 of a file; None where there is none, or none that may be read."""
    if path is None or not Path(path).is_file():
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError:  # the stage that reads the file reports it
        return None


def names_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the sorted names of files."""
    return _digest(sorted(path.name for path in paths))


def sizes_digest(root: str | Path | None, pattern: str) -> str:
    """SHA-256 of the paths and sizes of the files in `root` that match a glob pattern."""
    paths = sorted(Path(root).glob(pattern)) if root else []
    return _digest(f"{path} {path.stat().st_size}" for path in paths)


def list_digest(root: str | Path, dataset: str, name: str) -> str | None:
    """SHA-256 of a split list, None for one that is missing.

    Where the data set has no lists (Cityscapes, ADE20K), of the names of the split's images.
    """
    layout = DATASETS[dataset].layout
    if layout is None:
        return names_digest(Path(root).glob(f"leftImg8bit/{name}/*/*.png"))
    if layout.lists is None:
        return names_digest(Path(root).glob(f"images/{name}/*"))
    return content_digest(Path(root) / layout.lists / f"{name}.txt")


def own_digests(
    images: str | None, masks: str | None, tags: str | None, val: str | None, **_: object
) -> list[str | None]:
    """What changes with the user's own images, masks, tags or list.

    Images count by path, size and time, since there may be many; masks and tables count by content.
    """
    pictures = listed(images, SUFFIXES) if images else []
    annotated = listed(masks, MASK_SUFFIXES) if masks else []
    return [
        _digest(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in pictures if path.exists()),
        _digest(f"{path} {content_digest(path)}" for path in annotated),
        content_digest(tags),
        content_digest(val),
    ]


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
