"""Downloads that can be resumed and are checked; archives, of which either everything is unpacked or nothing."""

import hashlib
import http.client
import logging
import os
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from maskmill.errors import InputError
from maskmill.storage.atomic import full_disk_named

BLOCK = 1 << 20  # bytes
log = logging.getLogger(__name__)


def download(
    urls: Sequence[str],
    path: str | Path,
    checksum: str,
    *,
    attempts: int = 5,
    timeout: float = 60.0,
    pause: float = 2.0,
) -> None:
    """Download a file; it appears under `path` only if its checksum is correct.

    The bytes received so far are kept beside `path` as `<name>.partial`; the next attempt, in this call or a later
    one, continues from there. An existing file with the correct checksum is kept.

    Args:
        urls: sources of the same bytes, tried in order.
        checksum: "md5:<hex>" or "sha256:<hex>"; a prefix is enough, because publishers of weights give only that.
        attempts: number of attempts per URL.
        timeout: seconds without a response after which an attempt has failed.
        pause: seconds between attempts.

    Raises:
        InputError: the checksum differs (the file is removed), all URLs fail, or the disk is full.
    """
    path = Path(path)
    if path.exists() and digest(path, checksum).startswith(checksum):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    _fetch_any(urls, path, partial, attempts, timeout, pause)
    found = digest(partial, checksum)
    if not found.startswith(checksum):
        partial.unlink()
        raise InputError(
            f"{path}: checksum is {found}, expected {checksum}; the file was removed, "
            "run again, or put a good copy there"
        )
    os.replace(partial, path)


def check(path: str | Path, checksum: str) -> None:
    """Make sure that a file that a user provides is the published one.

    Raises:
        InputError: the checksum differs.
    """
    found = digest(path, checksum)
    if not found.startswith(checksum):
        raise InputError(f"{path}: checksum is {found}, expected {checksum}; delete it and run again")


def digest(path: str | Path, like: str) -> str:
    """Checksum of a file's bytes, with the algorithm and in the format of `like`, e.g. "md5:<hex>"."""
    algorithm = like.partition(":")[0]
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _fetch_any(urls: Sequence[str], path: Path, partial: Path, attempts: int, timeout: float, pause: float) -> None:
    reason: object = "no URL given"
    for url in urls:
        for attempt in range(attempts):
            try:
                with full_disk_named(path):
                    return _fetch(url, partial, timeout)
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                reason = error
                log.info("%s: %s (attempt %d of %d)", url, error, attempt + 1, attempts)
                if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                    break  # the server would repeat it, e.g. 404
                time.sleep(pause)
    raise InputError(
        f"{path}: cannot be downloaded from {' or '.join(urls)} ({reason}); "
        "check the network and run again, or fetch it by hand and put it there"
    ) from None


def _fetch(url: str, partial: Path, timeout: float) -> None:
    """Append the missing bytes to `partial`; OSError if the connection ends before the last byte."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "maskmill"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:
            return  # there are no bytes beyond `start`; the caller compares the checksum
        raise
    with answer:
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0  # the server sends the complete file
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=partial.stem, mininterval=1.0)
        with open(partial, "ab" if start else "wb") as file, bar:
            while block := answer.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    size = partial.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"connection ended after {size} of {total} bytes")


def unpack(archive: str | Path, folder: str | Path, members: Sequence[str] | None = None) -> None:
    """Unpack a tar (with any compression) or zip archive; `folder` appears when it is complete.

    Args:
        folder: must not exist, or must be empty.
        members: unpack only these files and the files below these folders; None: everything.

    Raises:
        InputError: the archive is broken, has a link or a member that would be written outside `folder`, or lacks one
            of `members`; the folder is not empty; or the disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    wanted = _selector(members)
    try:
        with full_disk_named(folder):
            if zipfile.is_zipfile(archive):
                _unpack_zip(archive, temporary, wanted)
            else:
                _unpack_tar(archive, temporary, wanted)
        for name in members or ():
            if not (temporary / name).exists():
                raise InputError(f"{archive}: has no {name}; delete it and run again")
        move_folder(temporary, folder)
    except tarfile.FilterError as error:
        raise _unsafe(archive, error) from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive}: broken archive ({error}); delete it and run again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_folder(source: str | Path, target: str | Path) -> None:
    """Rename a folder; the target must not exist, or must be empty.

    Raises:
        InputError: the target is not empty.
    """
    target = Path(target)
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"{target}: is not empty; move what lies there, or delete it, and run again")
    os.replace(source, target)


def _selector(members: Sequence[str] | None) -> Callable[[str], bool]:
    if members is None:
        return lambda name: True
    wanted = set(members)
    return lambda name: not wanted.isdisjoint({name, *map(str, PurePosixPath(name).parents)})


def _unpack_tar(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    def refuse_links(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
        if member.issym() or member.islnk():
            raise _unsafe(archive, f"{member.name!r} is a link")
        # Files get the permissions of the user's own new files, not those of the machine that packed them.
        return tarfile.data_filter(member, folder).replace(mode=None, deep=False)

    with tarfile.open(archive) as tar:
        chosen = (member for member in tar if wanted(member.name))
        tar.extractall(folder, members=_progress(chosen, archive), filter=refuse_links)


def _unpack_zip(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in _progress((m for m in file.infolist() if wanted(m.filename)), archive):
            parts = PurePosixPath(member.filename.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts:
                raise _unsafe(archive, repr(member.filename))
            if stat.S_ISLNK(member.external_attr >> 16):  # its mode, where Unix made it
                raise _unsafe(archive, f"{member.filename!r} is a link")
            file.extract(member, folder)


def _unsafe(archive: Path, reason: object) -> InputError:
    return InputError(f"{archive}: unsafe member ({reason}); do not use this archive")


def _progress(members: Iterator, archive: Path) -> tqdm:
    return tqdm(members, desc=f"unpack {archive.name}", unit=" files", mininterval=1.0)
