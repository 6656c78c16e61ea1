"""Files that cannot be opened now, although nothing is wrong with their contents: what helps, by the system's error."""

import errno
import os
import re
from pathlib import Path

from maskmill.errors import InputError

LOCKED = "is locked by another program, which may be writing it; wait or close that program, and run again"
NO_LOCKS = "lies on a file system without locks; set HDF5_USE_FILE_LOCKING=FALSE in the environment and run again"
NO_PERMISSION = "you may not read it; its owner can allow that: chmod a+r, and chmod a+rx of the folders above it"
TOO_MANY = "this process has too many files open; raise the limit (ulimit -n 4096) and run again"
NO_ANSWER = "its disk or file server gives an error; the contents may be sound, so see to the disk and run again"
CURES = {
    errno.EAGAIN: LOCKED,
    errno.EBUSY: LOCKED,
    errno.ETXTBSY: LOCKED,
    errno.ENOLCK: NO_LOCKS,
    errno.ENOSYS: NO_LOCKS,
    errno.EOPNOTSUPP: NO_LOCKS,
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EMFILE: TOO_MANY,
    errno.ENFILE: TOO_MANY,
    errno.EISDIR: "is a folder; name a file in it",
    errno.ENOTDIR: "a part of this path is a file, not a folder; correct the path",
    errno.ELOOP: "is a link that leads to itself; correct the link",
    errno.ENAMETOOLONG: "this name is too long for the file system; shorten it",
    errno.ENOMEM: "no memory is left to open it; close other programs and run again",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN), NO_ANSWER),
}


def barred(path: str | Path, error: Exception) -> InputError | None:
    """The line for a file that the system does not let a program read at the moment; None for any other error, such as
    contents that are damaged.

    Args:
        error: Python's, or one of HDF5, which may keep the system's number only in its text.
    """
    in_text = re.search(r"errno = (\d+)", str(error))
    code = getattr(error, "errno", None) or (int(in_text[1]) if in_text else 0)
    return InputError(f"{path}: {CURES[code]} ({os.strerror(code)})") if code in CURES else None


def check_readable(path: str | Path, missing: str) -> None:
    """Make sure that a file can be opened. Libraries call any file that they cannot open missing or broken.

    Args:
        missing: completes the line "<path>: ..." where there is no such file.

    Raises:
        InputError: it is missing, a folder, or the system does not let this program read it.
    """
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path}: {missing}") from None
    except OSError as error:
        raise barred(path, error) or error from None
