"""The files below a folder of a user's own images or masks, by the id of their image."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from maskmill.data.images import SUFFIXES
from maskmill.errors import InputError

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")  # what changes no id

logger = logging.getLogger(__name__)


def id_of(name: str) -> str:
    """The id of an image from its path below the folder, with or without suffix.

    An accented letter is one character in it, a file system may have stored it as two. Spaces at the ends are left out,
    since the lists of ids have one id per line. A backslash separates folders as "/" does.
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/").strip())
    return "_".join((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts).strip()


def by_id(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """`visible_files` by the id of their image, sorted by id."""
    files: dict[str, Path] = {}
    for path in visible_files(folder, suffixes):
        name = path.relative_to(folder).as_posix()
        _check_name(path, id_of(name))
        twin = files.setdefault(id_of(name), path)
        if twin != path:
            raise InputError(f"{path}: has the same id as {twin.relative_to(folder)}; rename or remove one of them")
    return dict(sorted(files.items()))


def visible_files(folder: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of the suffixes (given in lower case) below a folder, sorted; hidden files are ignored, links to
    folders are followed.

    Raises:
        InputError: the folder, or one below it, cannot be listed.
    """
    return sorted(path for path in _walk(Path(folder)) if path.suffix.lower() in suffixes)


def listed(folder: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """`visible_files`; none where the folder, or one below it, cannot be listed."""
    try:
        return visible_files(folder, suffixes)
    except InputError:
        return []


def sum_up_files(folder: str | Path, files: Collection[Path], suffixes: Sequence[str], changed: Counter[str]) -> None:
    """Log how many files of a folder were read and left out, by suffix.

    Args:
        files: those that were read.
        suffixes: of files that are read.
        changed: number of images with each change, see `maskmill.data.images.conversions`.
    """
    kinds, others = Counter(path.suffix.lower() for path in files), _left_out(folder, suffixes)
    left_out = f"; left out: {_counted(others)}" if others else ""
    logger.info("%s: %d files: %s%s", folder, len(files), _counted(kinds), left_out)
    for change, number in changed.items():
        logger.info("%s: %d images %s", folder, number, change)
    if sum(" bits, scaled" in change for change in changed) > 1:
        logger.warning("warning: %s: images of several depths may differ in brightness; save all with 8 bits", folder)


def but_others(folder: Path, suffixes: Sequence[str]) -> str:
    """What a folder without files of the suffixes holds instead, for a message."""
    others = _left_out(folder, suffixes)
    return f", but {_counted(others)}" if others else ""


def some(names: Sequence[str]) -> str:
    """The first five names."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (", ".join(map(repr, names[:5])) or "no class") + more


def _left_out(folder: str | Path, suffixes: Sequence[str]) -> Counter[str]:
    """The number of visible files with each other suffix."""
    found = (path.suffix.lower() for path in _walk(Path(folder)))
    return Counter(suffix for suffix in found if suffix not in suffixes)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind or 'without suffix'}" for kind, number in kinds.most_common())


def _check_name(path: Path, image_id: str) -> None:
    """Refuse what a text file with one id per line cannot hold."""
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    if shown != str(path):
        raise InputError(f"{shown}: its name is not in UTF-8; rename it")
    if image_id.splitlines() != [image_id]:
        raise InputError(f"{str(path)!r}: its name has a line break, or nothing but a suffix; rename it")


def _walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The visible files below a folder; a link to a folder that contains it is not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}); correct the name or its permissions"
        ) from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder / entry.name, above | {real})
        else:
            yield folder / entry.name
