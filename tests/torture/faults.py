"""A fault at the n-th operation on files; afterwards nothing is lost and the next run completes."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture import stores
from tests.torture.children import Children, Outcome
from tests.torture.findings import Finding, Tally
from tests.torture.operations import OPERATIONS, Operation, Workplace

SOURCE = Path(__file__).with_name("faults.c")
OFF, COUNT, DIE, TORN, FAIL, STAY, SHORT, QUOTA = range(8)
WRITES, READS, BYTES = 1, 2, 4
MODES: dict[str, tuple[int, int, int]] = {
    "die": (DIE, WRITES, 0),
    "torn": (TORN, WRITES, 0),
    "short": (SHORT, BYTES, 0),
    "EIO": (FAIL, WRITES, errno.EIO),
    "ENOSPC": (STAY, WRITES, errno.ENOSPC),
    "EROFS": (STAY, WRITES, errno.EROFS),
    "EIO reading": (FAIL, READS, errno.EIO),
    "die reading": (DIE, READS, 0),
}
"""Kind of fault: what the shim does, to which operations, with which error."""
WRONG = {"crash": "crash", "hang": "hang", "raw": "raw error", "memory": "raw error"}


def compile_shim() -> Path | None:
    """The shared library of `faults.c`; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = Path(tempfile.gettempdir()) / f"ris-torture-{name}.so"
    if not target.exists():
        draft = target.with_suffix(f".{random.randrange(1 << 30)}")
        words = [compiler, "-O2", "-shared", "-fPIC", "-o", draft, SOURCE, "-ldl"]
        subprocess.run(words, check=True)
        draft.replace(target)
    return target


def shim() -> Any:
    """The preloaded library; None where it is not."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "torture_arm"):
        return None
    library.torture_count.restype = ctypes.c_longlong
    library.torture_arm.argtypes = [
        ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_int, ctypes.c_int
    ]  # fmt: skip
    return library


class Bench:
    """Operations with what each gives undisturbed.

    Args:
        place: copies of templates, all made.
        children: that work is done in.
    """

    def __init__(self, place: Workplace, children: Children) -> None:
        self.place, self.children = place, children
        self._known: dict[str, tuple[Any, Any, Any]] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self._others: dict[str, Any] = {}
        self._shim = shim()

    @property
    def can_fail(self) -> bool:
        """Whether the shim is there."""
        return self._shim is not None

    def undisturbed(self, operation: Operation) -> tuple[Any, Any, Any]:
        """The state before, the state after, and what the operation returns."""
        if operation.name not in self._known:
            folder = self.place.fresh(operation.template)
            before = self._must(operation, lambda: seen(folder))
            value = self._must(operation, lambda: operation.work(folder))
            after = self._must(operation, lambda: seen(folder))
            self._known[operation.name] = before, after, value
        return self._known[operation.name]

    def other_end(self, operation: Operation) -> Any:
        """The state after the operation's other way, None where it has none."""
        if operation.otherwise is not None and operation.name not in self._others:
            other, folder = operation.otherwise, self.place.fresh(operation.template)
            self._must(operation, lambda: other(folder))
            self._others[operation.name] = self._must(operation, lambda: seen(folder))
        return self._others.get(operation.name)

    def count(self, operation: Operation, kinds: int) -> int:
        """How many operations on files it takes."""
        key = (operation.name, kinds)
        if key not in self._counts:
            folder = self.place.fresh(operation.template)

            def work() -> int:
                operation.work(folder)
                self._shim.torture_disarm()
                return int(self._shim.torture_count())

            arm = self.arming(folder, COUNT, kinds, 0, 0)
            self._counts[key] = self._must(operation, work, arm)
        return self._counts[key]

    def arming(
        self, folder: Path, mode: int, kinds: int, number: int, code: int
    ) -> Callable[[int], None]:
        """What a child does before its work, so that it meets the fault."""

        def arm(report: int) -> None:
            self._shim.torture_arm(str(folder).encode(), mode, kinds, number, code, report)

        return arm

    def _must(self, operation: Operation, work: Callable[[], Any], before: Any = None) -> Any:
        outcome = self.children.run(work, before)
        if outcome.status != "ok":
            raise AssertionError(f"undisturbed, {operation.name}: {outcome}")
        return outcome.value

    def trial(
        self,
        operation: Operation,
        before: Callable[[Path], Callable[[int], None]],
        *,
        memory: bool = False,
    ) -> tuple[Outcome, str, str]:
        """One disturbed run, what is wrong with what it leaves ("" if nothing), and the proof.

        Args:
            operation: what is run.
            before: gives what a child does first, see `arming`.
            memory: whether Python's own lack of memory is an answer.
        """
        first, last, value = self.undisturbed(operation)
        folder = self.place.fresh(operation.template)
        outcome = self.children.run(lambda: operation.work(folder), before(folder))
        if outcome.status in WRONG and not (memory and outcome.status == "memory"):
            return outcome, WRONG[outcome.status], f"{outcome.message}\n{outcome.trace}"
        left = self.children.run(lambda: seen(folder))
        if left.status != "ok":
            wrong = WRONG.get(left.status, "loss")
            return outcome, wrong, f"afterwards: {left.message}\n{left.trace}"
        unread = [f for f in left.value["failures"] or () if f[1] == "read"]
        if not operation.whole and unread:  # counted, and read by the next run
            again = self.children.run(lambda: operation.work(folder))
            final = self.children.run(lambda: seen(folder))
            same = final.status == "ok" and all(
                final.value[part] == last[part] for part in ("faces", "failures", "metadata")
            )
            if again.status == "ok" and same:
                return outcome, "", ""
            return outcome, "loss", f"after {unread}: {again.message} {final.message}"
        other = self.other_end(operation)
        if other is not None and left.value == other:
            last = other
        if difference := between(first, last, left.value, operation.whole):
            return outcome, "loss", difference
        done = outcome.status == "ok" and not (operation.reads and operation.group == "verify")
        if done and (left.value != last or outcome.value != value):
            proof = differs(last, left.value) or f"gave {outcome.value!r}, not {value!r}"
            return outcome, "silent change", proof[:2000]
        again = self.children.run(lambda: operation.work(folder))
        fine = operation.once and left.value == last and again.status == "refused"
        if again.status != "ok" and not fine:
            wrong = WRONG.get(again.status, "loss")
            return outcome, wrong, f"the next run: {again.message}\n{again.trace}"
        final = self.children.run(lambda: seen(folder))
        if final.status == "ok" and other is not None and final.value == other:
            last = other
        if final.status != "ok" or final.value != last:
            proof = final.message or differs(last, final.value)
            return outcome, "loss", f"after the next run: {proof}"
        return outcome, "", ""


def seen(folder: Path) -> dict[str, Any]:
    """All that a folder holds, the files that operations write beside the store included."""
    found = stores.state(folder)
    found["fresh"] = stores.state(folder / "fresh") if (folder / "fresh").exists() else None
    for name in ("out.parquet", "latents.parquet"):
        path = folder / name
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    return found


def differs(one: Any, other: Any, path: str = "") -> str:
    """Where two states differ first."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if one.get(key) != other.get(key):
                return differs(one.get(key), other.get(key), f"{path}/{key}")
        return ""
    return "" if one == other else f"{path}: {str(one)[:300]} became {str(other)[:300]}"


def between(first: Any, last: Any, found: Any, whole: bool) -> str:
    """What is neither as before nor as after an operation; "" if nothing is."""
    for part in first:
        if found[part] in (first[part], last[part]):
            continue
        if part == "fresh" and found[part] is not None and not found[part]["faces"]:
            continue  # created and still empty
        if part == "indices":
            for name, index in found[part].items():
                if index not in (first[part].get(name), last[part].get(name)):
                    return differs(last[part].get(name), index, f"/indices/{name}")
            lost = set(first[part]) - set(found[part])
            if lost:
                return f"/indices: {sorted(lost)} lost"
            continue
        if part == "faces" and not whole:
            if lost := [
                face
                for face, value in first[part].items()
                if last[part].get(face) == value and found[part].get(face) != value
            ]:
                return f"/faces: {lost[:3]} lost or changed"
            if strange := [
                face
                for face, value in found[part].items()
                if value not in (first[part].get(face), last[part].get(face))
            ]:
                return f"/faces: {strange[:3]} are as never committed"
            continue
        if part == "metadata" and not whole:
            continue  # the table of faces, which are compared above
        return differs(last[part], found[part], f"/{part}")
    return ""


class Faults:
    """The section: every operation with every mode, at every place, in an order by the seed."""

    section = "faults"

    def __init__(self, bench: Bench, tally: Tally, seed: int) -> None:
        self.bench, self.tally, self.seed = bench, tally, seed

    def step(self, number: int) -> None:
        """One trial; the number gives which."""
        rng = random.Random(f"{self.seed}/faults/{number}")
        operation = OPERATIONS[number % len(OPERATIONS)]
        names = [n for n in MODES if n.endswith("reading")] if operation.reads else list(MODES)
        name = names[(number // len(OPERATIONS) + number) % len(names)]
        mode, kinds, code = MODES[name]
        count = self.bench.count(operation, kinds)
        if not count:
            return
        place = rng.randrange(1, count + 1)
        outcome, wrong, proof = self.bench.trial(
            operation, lambda folder: self.bench.arming(folder, mode, kinds, place, code)
        )
        result = wrong or (outcome.status if outcome.fired else "not met")
        self.tally.count(self.section, operation.group, result)
        self.tally.count("faults by kind", name, result)
        if wrong:
            what = f"{operation.name}: {name} at {place} of {count} ({outcome.fired or 'not met'})"
            steps = {"section": self.section, "seed": self.seed, "number": number}
            self.tally.wrong(Finding(wrong, self.section, operation.group, steps, what, proof))
