"""Files with flipped bits, cut off, zeroed, grown and shuffled: refused in one line, or the same.

Where a form has sums over its bytes, or the product wrote the file, any other result is a silent
change. Where it has none (a photo's pixels, the text of a table, the numbers in a .npy), other
bytes are another content; there only crashes, hangs and raw errors count.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.children import Children, Outcome
from tests.torture.faults import WRONG
from tests.torture.findings import Finding, Tally

AT_ONCE = 40
"""Mutations in one child."""
LIMIT = 30.0
WHOLE = "whole.json"
ROOM = 1 << 30
"""Bytes of memory that reading one small file may take beyond what the process has."""


@dataclass(frozen=True)
class Target:
    """A file that is read.

    Attributes:
        group: what the report counts it as.
        name: of it.
        path: where it lies.
        read: what is seen of it, as JSON.
        strict: whether another result is a silent change.
    """

    group: str
    name: str
    path: Path
    read: Callable[[], Any]
    strict: bool


def mutated(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """What was done, and the bytes after it."""
    size = len(data)
    how = rng.choice(
        ("flip", "flip", "flip", "set", "cut", "zeros", "insert", "swap", "drop", "double", "tail")
    )
    at = rng.randrange(size)
    if rng.random() < 0.4:  # heads and ends say how the rest is read
        near = min(size, 64)
        at = rng.choice((rng.randrange(near), size - 1 - rng.randrange(near)))
    length = min(size - at, rng.choice((1, 4, 16, 512, 4096)))
    other = rng.randrange(size)
    block = data[at : at + length]
    if how == "flip":
        made = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    elif how == "set":
        made = data[:at] + bytes([rng.choice((0, 1, 127, 128, 255))]) + data[at + 1 :]
    elif how == "cut":
        made = data[:at]
    elif how == "zeros":
        made = data[:at] + bytes(length) + data[at + length :]
    elif how == "insert":
        made = data[:at] + rng.randbytes(length) + data[at:]
    elif how == "swap":
        first, second = sorted((at, other))
        length = min(length, second - first, size - second)
        made = (
            data[:first]
            + data[second : second + length]
            + data[first + length : second]
            + data[first : first + length]
            + data[second + length :]
        )
    elif how == "drop":
        made = data[:at] + data[at + length :]
    elif how == "double":
        made = data[:at] + block + data[at:]
    else:
        made = data + rng.randbytes(length)
    return f"{how} at {at} of {size}, {length}", made


def limit_memory(room: int) -> None:
    """Lets this process grow by so many bytes, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def digest(value: Any) -> str:
    """A short hash of JSON."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def prepare(folder: Path, children: Children) -> None:
    """Makes the files, and notes what is read of them as long as they are whole."""
    from tests.torture.targets import make_files, targets

    folder.mkdir()
    outcome = children.run(lambda: make_files(folder))
    if outcome.status != "ok":
        raise AssertionError(f"files to mutate: {outcome}")
    every, whole = targets(folder), {}

    def work(i: int) -> list[str]:
        return [digest(every[i].read()) for _ in range(2)]

    for target, found in zip(every, children.batch(len(every), work), strict=True):
        if found.status == "refused" and target.group.startswith("photo"):
            continue  # a Pillow without this format
        if found.status != "ok" or len(set(found.value)) != 1:
            raise AssertionError(f"whole, {target.name}: {found}")
        whole[target.name] = found.value[0]
    (folder / WHOLE).write_text(json.dumps(whole))


class Mutations:
    """The section: all targets in turn, some hundred mutations a step."""

    section = "mutations"

    def __init__(self, folder: Path, children: Children, tally: Tally, seed: int) -> None:
        from tests.torture.targets import targets

        self.folder, self.children, self.tally, self.seed = folder, children, tally, seed
        self.targets = targets(folder)
        self.whole: dict[str, str] = json.loads((folder / WHOLE).read_text())
        for target in [t for t in self.targets if t.name not in self.whole]:
            self.targets.remove(target)
            tally.count("formats that are not read here", target.name, "refused")

    def step(self, number: int) -> None:
        """A batch for one target."""
        target = self.targets[number % len(self.targets)]
        data = target.path.read_bytes()
        rng = random.Random(f"{self.seed}/mutations/{number}")
        seeds = [rng.randrange(1 << 60) for _ in range(AT_ONCE)]

        def work(i: int) -> str | None:
            _, made = mutated(random.Random(seeds[i]), data)
            if made == data:
                return None
            target.path.write_bytes(made)
            return digest(target.read())

        def before(_: int) -> None:
            limit_memory(ROOM)

        limit, self.children.limit = self.children.limit, LIMIT
        try:
            for i, outcome in enumerate(self.children.batch(AT_ONCE, work, before)):
                self._judge(target, number, i, seeds[i], data, outcome)
        finally:
            self.children.limit = limit
            target.path.write_bytes(data)

    def _judge(
        self, target: Target, number: int, i: int, seed: int, data: bytes, outcome: Outcome
    ) -> None:
        wrong = WRONG.get(outcome.status, "")
        result = outcome.status
        if outcome.status == "ok":
            if outcome.value is None:
                return
            same = outcome.value == self.whole[target.name]
            result = "same" if same else "other"
            if not same and target.strict:
                wrong = "silent change"
        self.tally.count(self.section, target.group, wrong or result)
        if wrong:
            how, _ = mutated(random.Random(seed), data)
            steps = {"section": self.section, "seed": self.seed, "number": number, "place": i}
            proof = f"{outcome.message}\n{outcome.trace}"
            finding = Finding(
                wrong, self.section, target.group, steps, f"{target.name}: {how}", proof
            )
            self.tally.wrong(finding)
