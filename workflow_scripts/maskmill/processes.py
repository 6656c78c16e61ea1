"""Work on many images in several processes."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from maskmill.progress import progress

T, R = TypeVar("T"), TypeVar("R")
M_MMAP_THRESHOLD = -3  # glibc, malloc.h
PR_SET_PDEATHSIG = 1  # Linux, prctl.h


def in_processes(function: Callable[[T], R], items: Iterable[T], processes: int, title: str) -> Iterator[R]:
    """`function` of every item, in order, by so many processes (1: this one), under a progress bar.

    `function` and the items are pickled: give a module's function, or a `functools.partial` of one. Each process is to
    use one thread, or processes and threads would multiply.
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
    """From now on the system kills this process when the one that started it ends, also by kill -9 (Linux only).

    Called in the process itself. A parent that has ended before ends it at once: another one has adopted this process,
    whose session is not ours.
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
    """From now on a freed array of 1 MB or more goes back to the system, here and in processes forked from here.

    glibc otherwise keeps freed arrays of up to 32 MB for later ones. Images of many sizes leave holes between them: the
    dense CRF grew by 40 MB a process within 100 images.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, 1 << 20)
