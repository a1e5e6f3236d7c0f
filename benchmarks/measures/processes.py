"""What a command costs that runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds by the clock, CPU seconds of all threads, and MB of memory at the peak."""

    wall: float
    cpu: float
    peak: float = 0.0


def timed(command: Sequence[str], cwd: Path, **environment: str) -> tuple[Cost, str]:
    """Runs a command to its end.

    Args:
        command: program and arguments.
        cwd: where it runs; also put on Python's path.
        environment: variables to set.

    Returns:
        its cost and what it printed. Ends the program where the command fails.
    """
    env = os.environ | {"PYTHONPATH": str(cwd)} | environment
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        printed = out.read().decode()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with status {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), printed
