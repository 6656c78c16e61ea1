"""Files appear under their final name whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.errors import InputError

# These stand in the errors of Python, HDF5 and safetensors alike.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    If the block raises, the temporary file is removed and `path` is untouched. After a kill only the
    temporary file is left, under a name that the next attempt by the same path overwrites.

    Raises:
        InputError: the disk, or the user's share of it, is full.
    """
    temporary = partial_path(path)
    try:
        with full_disk_named(path):
            yield temporary
            publish(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def partial_path(path: str | Path) -> Path:
    """Where a file lies until it is whole, beside `path`; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.partial")


def publish(path: str | Path) -> None:
    """Flush the whole file at `partial_path(path)` to disk and give it its name."""
    path = Path(path)
    _fsync(partial_path(path))
    os.replace(partial_path(path), path)
    _fsync(path.parent)


@contextmanager
def full_disk_named(path: str | Path) -> Iterator[None]:
    """Raises InputError where the disk, or the user's share of it, is full while `path` is written."""
    try:
        yield
    except BaseException as error:
        if any(text in str(error) for text in DISK_FULL):
            raise InputError(f"{path}: the disk is full; make room and run again") from None
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
