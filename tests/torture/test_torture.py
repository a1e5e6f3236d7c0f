"""A minute of the fault suite (`tests/torture`), and that it finds what it looks for."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from ris.errors import InputError
from tests.torture.children import Children
from tests.torture.faults import between, compile_shim
from tests.torture.mutations import mutated
from tests.torture.pickles import named

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fault suite needs Linux")


def test_a_minute_of_it_finds_nothing(tmp_path):
    report = tmp_path / "torture.json"
    words = ["--minutes", "1", "--seed", "1", "--json", report, "--out", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    counts = json.loads(report.read_text())["done"]
    sections = {key.split("|")[0] for key in counts}
    assert sections >= {"mutations", "pickles", "crowds", "limits"}
    assert ("faults" in sections) == (compile_shim() is not None)


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("work", "status"),
    [
        (lambda: 5, "ok"),
        (lambda: fail(InputError("no such thing: name another")), "refused"),
        (lambda: fail(InputError("two\nlines")), "raw"),
        (lambda: fail(InputError("unexpected ValueError")), "raw"),
        (lambda: fail(ValueError("bare")), "raw"),
        (lambda: fail(SystemExit(0)), "raw"),
        (lambda: fail(MemoryError()), "memory"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "crash"),
        (lambda: os._exit(4), "crash"),
        (lambda: os._exit(137), "died"),
        (lambda: time.sleep(60), "hang"),
    ],
)
def test_what_became_of_work_is_told_apart(work, status, tmp_path):
    outcomes = list(Children(tmp_path, 1.0).batch(2, lambda i: work() if i == 0 else "next"))
    assert [o.status for o in outcomes] == [status, "ok"]
    assert outcomes[1].value == "next"


SCRIPT = """
import os, sys
from tests.torture.faults import MODES, shim
folder, mode, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
how, kinds, code = MODES[mode]
shim().torture_arm(folder.encode(), how, kinds, number, code, 1)
with open(folder + "/a", "wb", buffering=0) as file:  # 1 opens
    written = file.write(b"0123456789")               # 2 writes
    os.fsync(file.fileno())                           # 3 syncs
os.rename(folder + "/a", folder + "/b")               # 4 renames
print("wrote", written)
"""


@pytest.mark.parametrize(
    ("mode", "number", "status", "said", "left"),
    [
        ("die", 1, 137, "at open", {}),
        ("die", 2, 137, "at write", {"a": b""}),
        ("torn", 2, 137, "at write", {"a": b"01234"}),
        ("torn", 4, 137, "at rename", {"b": b"0123456789"}),
        ("short", 1, 0, "wrote 5", {"b": b"01234"}),
        ("EIO", 3, 1, os.strerror(errno.EIO), {"a": b"0123456789"}),
        ("ENOSPC", 2, 1, os.strerror(errno.ENOSPC), {"a": b""}),
        ("EROFS", 4, 1, os.strerror(errno.EROFS), {"a": b"0123456789"}),
        ("die", 5, 0, "wrote 10", {"b": b"0123456789"}),
    ],
)
def test_the_shim_strikes_where_it_is_told_to(mode, number, status, said, left, tmp_path):
    library = compile_shim()
    if library is None:
        pytest.skip("no C compiler")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path, mode, str(number)],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


ONCE = """
import errno, sys
from pathlib import Path
from ris.data.recovery import recover
from ris.data.store import Store
from ris.data.verify import verify
from tests.torture import stores
from tests.torture.faults import FAIL, READS, shim
folder = Path(sys.argv[1])
stores.make(folder / "whole", faces=40, kinds={})
lost = folder / "whole" / ".ris"
for number in range(1, 60):
    if sys.argv[2] == "recover":
        (lost / "manifest.json").unlink()
    shim().torture_arm(str(folder).encode(), FAIL, READS, number, errno.EIO, -1)
    try:
        recover(lost) if sys.argv[2] == "recover" else verify(Store(lost), drop_damaged=True)
    except Exception as e:
        assert "unexpected" not in str(e)
    fired = shim().torture_fired()
    shim().torture_disarm()
    if sys.argv[2] == "recover" and not (lost / "manifest.json").exists():
        recover(lost)
    assert Store(lost).manifest().rows == 40, number
print("fired to the end" if fired else "went through")
"""


@pytest.mark.parametrize("work", ["recover", "drop"])
def test_what_cannot_be_read_once_is_not_taken_out_of_the_store(work, tmp_path):
    library = compile_shim()
    if library is None:
        pytest.skip("no C compiler")
    done = subprocess.run(
        [sys.executable, "-c", ONCE, tmp_path, work],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "went through\n"), done.stderr[-2000:]


def test_what_is_neither_before_nor_after_is_told():
    first = {"faces": {"a": "1", "b": "2"}, "indices": {"eyes": 1}}
    last = {"faces": {"a": "1", "c": "3"}, "indices": {"eyes": 2, "nose": 3}}
    part = {"faces": {"a": "1"}, "indices": {"eyes": 1, "nose": 3}}
    assert between(first, last, first, True) == between(first, last, last, True) == ""
    assert "faces" in between(first, last, part, True)
    assert between(first, last, part, False) == ""
    assert "lost" in between(first, last, {**part, "faces": {"b": "2"}}, False)
    assert "never committed" in between(first, last, {**part, "faces": {"a": "1", "c": "9"}}, False)
    assert "indices" in between(first, last, {**first, "indices": {}}, False)
    assert "indices" in between(first, last, {**first, "indices": {"eyes": 9}}, False)


def test_mutations_follow_from_their_seed():
    data = bytes(range(256)) * 8
    made = [mutated(random.Random(seed), data) for seed in range(300)]
    assert made == [mutated(random.Random(seed), data) for seed in range(300)]
    assert len({what.split()[0] for what, _ in made}) == 9
    assert sum(data == after for _, after in made) < 30


def test_known_attacks_are_different(tmp_path):
    attacks = dict(named(tmp_path / "canary"))
    assert len(attacks) == len(list(named(tmp_path / "canary"))) > 63
    assert len(set(attacks.values())) == len(attacks)
