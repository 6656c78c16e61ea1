"""Work on many images in several processes."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from maskmill.progress import progress

T, R = TypeVar("T"), TypeVar("R")


def in_processes(function: Callable[[T], R], items: Iterable[T], processes: int, title: str) -> Iterator[R]:
    """`function` of every item, in order, by so many processes (1: this one), under a progress bar.

    `function` and the items are pickled: give a module's function, or a `functools.partial` of one. Each process is to
    use one thread, or processes and threads would multiply.
    """
    items = list(items)
    if processes <= 1:
        yield from map(function, progress(items, title))
        return
    with ProcessPoolExecutor(processes) as pool:
        try:
            yield from progress(pool.map(function, items, chunksize=4), title, total=len(items))
        finally:
            pool.shutdown(cancel_futures=True)
