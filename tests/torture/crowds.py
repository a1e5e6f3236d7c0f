"""Writers, readers, removers, indexers and searchers at once, some of which are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ris.data.store import Store
from ris.errors import RisError
from ris.face_names import FaceId
from ris.index.build import build_indices
from ris.query.searcher import Searcher
from tests.torture import stores
from tests.torture.children import Children, Outcome
from tests.torture.faults import WRONG, seen
from tests.torture.findings import Finding, Tally
from tests.torture.operations import Workplace, join
from tests.torture.stores import FACES, FEATURE, rows

SECONDS = 2.5
BUSY = ("another process", "another run", "is being written", "run the command again")
"""What a writer may be told while another one writes."""


class Crowds:
    """The section: one crowd a step."""

    section = "crowds"

    def __init__(
        self, folder: Path, place: Workplace, children: Children, tally: Tally, seed: int
    ) -> None:
        self.folder, self.place, self.tally, self.seed = folder, place, tally, seed
        self.children = children
        folder.mkdir(exist_ok=True)

    def step(self, number: int) -> None:
        """One crowd: what each of its members met, and what they left."""
        rng = random.Random(f"{self.seed}/crowds/{number}")
        folder = self.place.fresh("plain")
        end = time.monotonic() + SECONDS
        members = self._members(folder, end, rng)
        killed = set(rng.sample(sorted(members), rng.choice((0, 1, 2))))
        waiting: dict[int, tuple[str, int]] = {}
        for name, work in members.items():
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                Children(self._own(name))._work(0, 1, lambda _, w=work: w(), None, writing)
            os.close(writing)
            waiting[pid] = name, reading
        for pid, (name, _) in waiting.items():
            if name in killed:
                time.sleep(rng.random() * SECONDS / 3)
                os.kill(pid, signal.SIGKILL)
        deadline = end + self.children.limit
        for pid, (name, reading) in waiting.items():
            outcome = _ended(pid, reading, deadline, self._own(name) / "stderr.txt")
            planned = name in killed and outcome.message == f"signal {int(signal.SIGKILL)}"
            wrong = "" if planned else self._wrong(name, outcome)
            status = "died" if planned else outcome.status
            what, proof = f"{name}, killed: {sorted(killed)}", f"{outcome.message}\n{outcome.trace}"
            self._count(number, name.split()[0], wrong, status, what, proof)
        self._afterwards(folder, number, killed)

    def _own(self, name: str) -> Path:
        own = self.folder / name.replace(" ", "-")
        own.mkdir(exist_ok=True)
        return own

    def _wrong(self, name: str, outcome: Outcome) -> str:
        if outcome.status in WRONG:
            return WRONG[outcome.status]
        if outcome.status == "refused" and not any(word in outcome.message for word in BUSY):
            return "loss"
        return ""

    def _count(
        self, number: int, group: str, wrong: str, status: str, what: str, proof: str
    ) -> None:
        self.tally.count(self.section, group, wrong or status)
        if wrong:
            steps = {"section": self.section, "seed": self.seed, "number": number}
            self.tally.wrong(Finding(wrong, self.section, group, steps, what, proof))

    def _members(
        self, folder: Path, end: float, rng: random.Random
    ) -> dict[str, Callable[[], Any]]:
        place = folder / ".ris"
        base = {row.id for row in rows(0, FACES)}
        gone = {row.id for row in rows(0, 10)}

        def writer(first: int) -> Callable[[], Any]:
            def work() -> None:
                store = Store.open(place)
                for start in range(first, first + 40, 4):
                    store.append(rows(start, start + 4))

            return work

        def remover() -> None:
            store = Store.open(place)
            for row in rows(0, 10):
                store.remove([row.id])

        def reader() -> None:
            store = Store.open(place)
            known: dict[str, str] = {}
            while time.monotonic() < end:
                found = store.consistently(lambda m: {
                    name: path
                    for batch in store.batches(["id", "path"], m)
                    for name, path in zip(*batch.to_pydict().values(), strict=True)
                })  # fmt: skip
                if lost := base - gone - set(found):
                    raise AssertionError(f"lost {sorted(lost)[:3]}")
                if changed := [n for n, v in found.items() if known.get(n, v) != v]:
                    raise AssertionError(f"changed {changed[:3]}")
                known |= found
                stores.metadata(store)

        def searcher() -> None:
            store = Store.open(place)
            searcher = Searcher(store)
            query = FaceId(rows(30, 31)[0].id)
            while time.monotonic() < end:
                result = searcher.search(query, {FEATURE: 1.0})
                if len({m.id for m in result.nearest}) < 5:
                    raise AssertionError("less than five found")

        def indexer() -> None:
            while time.monotonic() < end:
                try:
                    build_indices(Store.open(place), [FEATURE])
                except RisError as e:
                    if not any(word in str(e) for word in BUSY):
                        raise
                    time.sleep(0.01)

        def compacter() -> None:
            while time.monotonic() < end:
                Store.open(place).compact()
                time.sleep(0.05)

        def verifier() -> None:
            while time.monotonic() < end:
                found = stores.problems(Store.open(place))
                if found["damaged"]:
                    raise AssertionError(f"damaged: {found['damaged']}")

        members: dict[str, Callable[[], Any]] = {
            "writer a": writer(1000),
            "writer b": writer(2000),
            "remover": remover,
            "reader": reader,
            "searcher": searcher,
            "indexer a": indexer,
            "compacter": compacter,
            "verifier": verifier,
        }
        if rng.random() < 0.5:
            members["indexer b"] = indexer
            members["joiner"] = lambda: join(folder)
        return members

    def _afterwards(self, folder: Path, number: int, killed: set[str]) -> None:
        """The store is as if all had come one after the other; the killed may run again."""
        left = self.children.run(lambda: seen(folder))
        proof = f"{left.message}\n{left.trace}"
        wrong = "" if left.status == "ok" else WRONG.get(left.status, "loss")
        if not wrong:
            wanted = {row.id for row in rows(10, FACES)}
            for name, first in (("writer a", 1000), ("writer b", 2000)):
                if name not in killed:
                    wanted |= {row.id for row in rows(first, first + 40)}
            lost = wanted - set(left.value["faces"])
            gone = {row.id for row in rows(0, 10)} & set(left.value["faces"])
            if lost or (gone and "remover" not in killed):
                wrong, proof = "loss", f"lost {sorted(lost)[:3]}, still there {sorted(gone)[:3]}"
        if not wrong:
            again = self.children.run(lambda: self._again(folder))
            if again.status != "ok":
                wrong, proof = WRONG.get(again.status, "loss"), f"{again.message}\n{again.trace}"
        self._count(number, "afterwards", wrong, "ok", f"killed: {sorted(killed)}", proof)

    def _again(self, folder: Path) -> None:
        store = Store.open(folder / ".ris")
        for first in (1000, 2000):
            store.append(rows(first, first + 40))
        store.remove([row.id for row in rows(0, 10)])
        build_indices(store, [FEATURE])
        found = stores.index(store, FEATURE)
        ids = {name for name in found["ids"] if name}
        if ids - set(stores.faces(store)):
            raise AssertionError("the index has faces that the store lost")
        if stores.problems(store)["damaged"]:
            raise AssertionError("verify finds damage")


def _ended(pid: int, reading: int, deadline: float, errors: Path) -> Outcome:
    """What became of a member; killed where it takes too long."""
    import json
    import select

    data, hung = b"", False
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            hung = True
            os.kill(pid, signal.SIGKILL)
            break
        part = os.read(reading, 1 << 16)
        if not part:
            break
        data += part
    os.close(reading)
    _, state = os.waitpid(pid, 0)
    if hung:
        return Outcome("hang", message="a member of the crowd")
    if data:
        return Outcome(**json.loads(data))
    code = os.waitstatus_to_exitcode(state)
    text = errors.read_text(errors="replace")[-3000:] if errors.exists() else ""
    return Outcome("crash", message=f"signal {-code}" if code < 0 else f"exit {code}", trace=text)
