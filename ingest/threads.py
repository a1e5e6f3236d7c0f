"""Many small torch jobs side by side, one thread each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import torch

T = TypeVar("T")


class StepCounter:
    """Counts the steps of all threads.

    Args:
        total: steps in all.
        progress: called with steps done and steps in all, by one thread at a time.
    """

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = Lock()
        self._stopped = False

    def step(self, count: int = 1) -> None:
        """Some steps are done.

        Raises:
            CancelledError: the work was stopped.
        """
        with self._lock:
            if self._stopped:
                raise CancelledError
            self._done += count
            if self._progress:
                self._progress(self._done, self._total)

    def stop(self) -> None:
        """Lets every thread end at its next step."""
        self._stopped = True


def on_single_threads(work: Callable[[int], T], n: int, counter: StepCounter) -> list[T]:
    """[work(0), ..., work(n - 1)], each on a thread of its own that torch does not divide."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(min(n, threads), initializer=torch.set_num_threads, initargs=(1,))
    try:
        return list(pool.map(work, range(n)))
    except BaseException:  # an interrupt should not wait for descents to end
        counter.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # torch remembers the last setting of any thread
