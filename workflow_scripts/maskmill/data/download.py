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
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from maskmill.errors import InputError
from maskmill.storage.access import check_readable
from maskmill.storage.atomic import full_disk_named

BLOCK = 1 << 20  # bytes
LONGEST_WAIT = 600.0  # seconds; a server may ask for more between two requests, and does not get it
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
        pause: seconds between the first two attempts, doubled with each further one; a server that asks for another
            time (Retry-After) gets it.

    Raises:
        InputError: the checksum differs (the answer is removed), all URLs fail, or the disk is full.
    """
    path = Path(path)
    lies_there = ""
    if path.exists():
        found = digest(path, checksum)
        if found.startswith(checksum):
            return
        lies_there = f"; the file that lies there has the checksum {found}, expected {checksum}"
        log.warning("%s: checksum is %s, expected %s; fetching it anew", path, found, checksum)
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    reason: Exception | str = "no URL given"
    for url in urls:
        try:
            _fetch_in_attempts(url, partial, checksum, attempts, timeout, pause)
            os.replace(partial, path)
            return
        except (OSError, http.client.HTTPException, OtherFileError) as error:
            reason = error
    if isinstance(reason, OtherFileError):
        raise InputError(
            f"{path}: {reason}; the answer was removed, run again, or put a good copy there{lies_there}"
        ) from None
    raise InputError(
        f"{path}: cannot be downloaded from {' or '.join(urls)} ({reason}); "
        f"check the network and run again, or fetch it by hand and put it there{lies_there}"
    ) from None


class OtherFileError(Exception):
    """A server answers with another file, such as a page that says why it does not give the file."""


def repeats(error: urllib.error.HTTPError) -> bool:
    """Whether a server would give the same answer again, e.g. 404; otherwise it is busy, or limits the requests."""
    return error.code < 500 and error.code not in (408, 425, 429)


def retry_after(error: urllib.error.HTTPError) -> float | None:
    """Seconds that a server asks to wait before the next request, ten minutes at most; None: it does not say."""
    text = error.headers.get("Retry-After") or ""
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError):  # none, or no date
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def described(urls: Sequence[str], path: str | Path, checksum: str) -> str:
    """One line that says where a file comes from, where it belongs, and its checksum."""
    algorithm, _, digits = checksum.partition(":")
    whole = len(digits) == 2 * hashlib.new(algorithm).digest_size
    known = f"{algorithm} {digits}{'' if whole else '...'}" if digits else "no checksum is published"
    return f"Download {' or '.join(urls)} to {path} ({known})"


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
    check_readable(path, "no such file; put it there")
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _fetch_in_attempts(url: str, partial: Path, checksum: str, attempts: int, timeout: float, pause: float) -> None:
    """Complete `partial`; otherwise the last error is raised, and `partial` keeps its bytes."""
    for attempt in range(attempts):
        try:
            with full_disk_named(partial.with_suffix("")):
                _fetch(url, partial, checksum, timeout)
            return
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            log.info("%s: %s (attempt %d of %d)", url, error, attempt + 1, attempts)
            refused = error if isinstance(error, urllib.error.HTTPError) else None
            if attempt + 1 == attempts or (refused and repeats(refused)):
                raise
            wait = retry_after(refused) if refused else None
            time.sleep(pause * 2**attempt if wait is None else wait)


def _fetch(url: str, partial: Path, checksum: str, timeout: float) -> None:
    """Append the missing bytes to `partial`; OSError if the connection ends before the last byte."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "maskmill"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if not (start and error.code == 416):
            raise
        return _check_whole(partial, checksum)  # there are no bytes beyond `start`
    with answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if goes_on or not start:
            _receive(answer, partial, start)
            return _check_whole(partial, checksum)
        # The server sends a complete file, or a page that says why not: what is there stays until that is known.
        anew = partial.with_name(f"{partial.name}.anew")
        try:
            _receive(answer, anew, 0)
            _check_whole(anew, checksum)
        finally:
            if anew.exists() and anew.stat().st_size > start:  # also where the connection ended
                os.replace(anew, partial)
            anew.unlink(missing_ok=True)


def _receive(answer: http.client.HTTPResponse, file: Path, start: int) -> None:
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    bar = tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=file.stem, mininterval=1.0)
    with open(file, "ab" if start else "wb") as opened, bar:
        while block := answer.read(BLOCK):
            opened.write(block)
            bar.update(len(block))
    size = file.stat().st_size
    if total is not None and size < total:
        raise ConnectionError(f"connection ended after {size} of {total} bytes")


def _check_whole(file: Path, checksum: str) -> None:
    found = digest(file, checksum)
    if not found.startswith(checksum):
        size = file.stat().st_size
        file.unlink()
        raise OtherFileError(f"checksum is {found} ({size:,} bytes), expected {checksum}")


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
        return tarfile.data_filter(member, folder).replace(mode=None, deep=False)  # type: ignore[arg-type]

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
