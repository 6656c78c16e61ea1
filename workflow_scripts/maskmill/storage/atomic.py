"""Atomic writes: a file appears under its final name only when it is complete."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.errors import InputError

# The errors of Python, HDF5 and safetensors all contain these texts.
DISK_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    If the block raises, the temporary file is removed and `path` is untouched. A kill leaves only the temporary file,
    which the next attempt to write `path` overwrites. The file gets the permissions of any new file in its folder, also
    where a library writes it with those of a private temporary file.

    Raises:
        InputError: the disk, or the user's share of it, is full; or the folder cannot be written to.
    """
    try:
        temporary = partial_path(path)
        permissions = _create(temporary)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror} ({error.filename}); allow it, or choose another place"
        ) from None
    try:
        with full_disk_named(path):
            yield temporary
            temporary.chmod(permissions)
            publish(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def partial_path(path: str | Path) -> Path:
    """The temporary path of a file, beside `path`, until the file is complete; creates the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.partial")


def publish(path: str | Path) -> None:
    """Flush the complete file at `partial_path(path)` to disk and rename it to `path`."""
    path = Path(path)
    _fsync(partial_path(path))
    os.replace(partial_path(path), path)
    _fsync(path.parent)


@contextmanager
def full_disk_named(path: str | Path) -> Iterator[None]:
    """Turn the error of a full disk into one that names `path`, which the block writes.

    Raises:
        InputError: the disk, or the user's share of it, is full.
    """
    try:
        yield
    except BaseException as error:
        if any(text in str(error) for text in DISK_FULL):
            raise InputError(f"{path}: the disk is full; make room and run again") from None
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically.

    Raises:
        InputError: the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _create(path: Path) -> int:
    """Make an empty file; returns its permissions, which the umask or the folder's default list of rights gives."""
    path.unlink(missing_ok=True)
    path.touch()
    return stat.S_IMODE(path.stat().st_mode)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
