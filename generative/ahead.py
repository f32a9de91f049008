"""Work done ahead by threads, its results in order: what lets decoding, a network and encoding run at the same time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """function(item) of every item, in the order of the items, by threads that are up to `ahead` items before the caller.

    Items are drawn by the caller's thread, and are themselves results of this function where several stages are to overlap.
    Raises what the function raises, in the place of its result; what was not begun by then is dropped. (Python 3.14 calls it
    `Executor.map(buffersize=)`.)
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batches_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last of what is left."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
