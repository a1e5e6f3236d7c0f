"""Operations with little memory, few descriptors, small files and a small disk."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from tests.torture.faults import QUOTA, Bench
from tests.torture.findings import Finding, Tally
from tests.torture.mutations import limit_memory
from tests.torture.operations import OPERATIONS

LIMITS = ("memory", "descriptors", "file size", "disk")


def limit_descriptors(spare: int) -> None:
    """Lets this process open so many files more."""
    used = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    most = 3
    while sum(number not in used for number in range(most)) < spare:
        most += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _file_size(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class Limits:
    """The section: every operation under every limit, at values by the seed."""

    section = "limits"

    def __init__(self, bench: Bench, tally: Tally, seed: int) -> None:
        self.bench, self.tally, self.seed = bench, tally, seed

    def _before(self, limit: str, value: int) -> Callable[[Path], Callable[[int], None]]:
        if limit == "disk":
            return lambda folder: self.bench.arming(folder, QUOTA, 1, value, 0)
        act = {"memory": limit_memory, "descriptors": limit_descriptors, "file size": _file_size}[
            limit
        ]
        return lambda folder: lambda report: act(value)

    def step(self, number: int) -> None:
        """One trial."""
        rng = random.Random(f"{self.seed}/limits/{number}")
        operation = OPERATIONS[number % len(OPERATIONS)]
        limit = LIMITS[(number // len(OPERATIONS) + number) % len(LIMITS)]
        value = {
            "memory": rng.choice((160, 256, 512) if operation.sql else (8, 16, 32, 64, 128)) << 20,
            "descriptors": rng.randrange(0, 8),
            "file size": rng.choice((0, 100, 1000, 5000, 20_000, 100_000)),
            "disk": int(10 ** rng.uniform(0, 6)),
        }[limit]
        if limit == "disk" and not self.bench.can_fail:
            return
        outcome, wrong, proof = self.bench.trial(
            operation, self._before(limit, value), memory=limit == "memory"
        )
        self.tally.count(self.section, limit, wrong or outcome.status)
        if wrong:
            steps = {"section": self.section, "seed": self.seed, "number": number}
            what = f"{operation.name}: {limit} {value}"
            self.tally.wrong(Finding(wrong, self.section, limit, steps, what, proof))
