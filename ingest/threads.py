"""Many small torch jobs side by side, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, local
from typing import TypeVar

import torch

from ris.cores import usable_cores

T = TypeVar("T")

DEVICE_GROUP = 32
"""Faces that a device takes side by side."""
MOST_WORKERS = 16
"""Each holds one face's activations, and Python itself runs on one core."""


class _Undivided:
    """Counts the threads that are in `one_thread`, and knows what torch is to do afterwards."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._before = 1
        self._own = local()
        """``left``: what torch did before, in a thread that left before another one did."""

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = getattr(self._own, "left", None) or torch.get_num_threads()
            self._inside += 1
            torch.set_num_threads(1)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            self._own.left = self._before if self._inside else None
            if not self._inside:
                torch.set_num_threads(self._before)


_undivided = _Undivided()


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


def worker_count() -> int:
    """How many single threads keep the machine busy: the cores that this process may use, or
    fewer where torch was told so (``OMP_NUM_THREADS``); at most `MOST_WORKERS`."""
    return max(1, min(usable_cores(), torch.get_num_threads(), MOST_WORKERS))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch from dividing what the calling thread does, as in ingest: sums over many numbers
    depend in their last bits on how they are divided.

    Any number of threads may be in it at once. A part of the setting is the whole process's, so
    the last one that leaves puts it back; a thread that left before goes on undivided.
    """
    _undivided.enter()
    try:
        yield
    finally:
        _undivided.leave()


@contextmanager
def single_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that torch does not divide; jobs that wait when it is left are dropped."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # torch remembers the last setting of any thread


def by_groups(
    work: Callable[[slice], T], faces: int, device: torch.device, counter: StepCounter
) -> list[T]:
    """``[work(part), ...]`` over all faces: on the processor each face on a thread of its own that
    torch does not divide, on another device `DEVICE_GROUP` faces at a time in the calling thread.

    There threads would gain nothing, and new ones lose most of the time: cuDNN keeps the plans of
    convolutions for each thread, and makes them anew, at .4 s each, in one that it does not know.
    """
    threads = torch.get_num_threads()
    size = 1 if device.type == "cpu" else DEVICE_GROUP
    parts = [slice(start, start + size) for start in range(0, faces, size)]
    if device.type != "cpu" or threads == 1:
        return [work(part) for part in parts]
    with single_threads(min(len(parts), threads)) as pool:
        try:
            return list(pool.map(work, parts))
        except BaseException:  # an interrupt should not wait for descents to end
            counter.stop()
            raise
