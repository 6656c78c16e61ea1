"""Work on many images in several processes."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from maskmill.progress import progress

T = TypeVar("T")
R = TypeVar("R")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
PR_SET_PDEATHSIG = 1  # Linux, prctl.h


def in_processes(function: Callable[[T], R], items: Iterable[T], processes: int, title: str) -> Iterator[R]:
    """Yield `function` of every item, in order, under a progress bar.

    Args:
        function: must be picklable: a function of a module, or a `functools.partial` of one. It should use one thread,
            or processes and threads would multiply.
        items: must be picklable as well.
        processes: number of processes; with 1 this process does the work.
        title: of the progress bar.
    """
    return_freed_memory()
    items = list(items)
    if processes <= 1:
        yield from map(function, progress(items, title))
        return
    with ProcessPoolExecutor(processes, initializer=end_with_parent) as pool:
        try:
            yield from progress(pool.map(function, items, chunksize=4), title, total=len(items))
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Have the system kill this process as soon as its parent ends, even by kill -9 (Linux only).

    The process itself calls this function. If its parent has already ended, a process of another session has adopted
    it, and it kills itself at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        orphaned = os.getsid(os.getppid()) != os.getsid(0)
    except ProcessLookupError:
        orphaned = True
    if orphaned:
        os.kill(os.getpid(), signal.SIGKILL)


def return_freed_memory() -> None:
    """Return freed arrays of 1 MB or more to the system, here and in processes forked from here (glibc only).

    By default glibc keeps freed arrays of up to 32 MB for later ones. Images of many sizes leave holes between them: a
    process of the dense CRF grew by 40 MB within 100 images.
    """
    _mallopt(M_MMAP_THRESHOLD, 1 << 20)


def keep_freed_memory() -> None:
    """Keep freed arrays of up to 32 MB for later ones, here and in processes forked from here (glibc only).

    An iteration of a training on a CPU allocates what the last one freed. By default glibc returns it to the system,
    which has to clear its pages again: a sixth of the time with the sample scale's networks.
    """
    _mallopt(M_MMAP_THRESHOLD, 1 << 25)
    _mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _mallopt(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt:
            mallopt(parameter, value)
