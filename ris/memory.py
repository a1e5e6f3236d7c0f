"""How this process asks the system for memory."""

from __future__ import annotations

import os
import sys

ARENA_MAX, MMAP_MAX, TRIM_THRESHOLD = -8, -4, -1  # parameters of glibc's mallopt
KEPT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed for the next allocation; for programs, not for libraries.

    Every layer of a network allocates megabytes and frees them again. By default glibc gives
    such blocks back to the system at once and gets fresh pages for the next layer, which the
    kernel has to clear first: a render takes twice as long (docs/lab/performance.md). Peak memory
    grows by some hundred megabytes. Settings that the user made (``MALLOC_...``) are left alone.

    Returns:
        whether anything was set: False with another C library.
    """
    if not sys.platform.startswith("linux") or any(k.startswith("MALLOC_") for k in os.environ):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT))
    return all(mallopt(name, value) == 1 for name, value in settings)


def check_room(size: int) -> None:
    """Fails where a limit of this process's address space (``ulimit -v``) leaves less than `size`
    bytes; for libraries that crash when they get none.

    Raises:
        MemoryError: as said.
    """
    if not sys.platform.startswith("linux"):
        return
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    if most - taken < size:
        raise MemoryError(f"{max(0, most - taken) >> 20} MB are left of those that are allowed")
