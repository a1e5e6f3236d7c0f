"""Work in forked children of a warm process: whatever happens to them, the parent knows what."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ris.errors import RisError

Status = Literal["ok", "refused", "raw", "memory", "died", "crash", "hang"]
DIED = 137
LIMIT = 30.0
"""Seconds after which a child hangs; what it does takes well under one."""
NO_THREAD = "can't start new thread"
"""How Python says that there is no memory for a thread."""
LONGEST = 2000
"""Characters of an error's one line."""


@dataclass
class Outcome:
    """What became of one piece of work.

    Attributes:
        status: ``ok``; ``refused``, by an error of the product's own in one line; ``raw``, any
            other error; ``memory``, Python's own error of that name; ``died``, by a planned fault;
            ``crash``, by a signal or an exit that nobody planned; ``hang``.
        value: what it returned.
        message: of the error.
        trace: where it was raised.
        fired: the operation at which the planned fault struck, "" if it did not.
    """

    status: Status
    value: Any = None
    message: str = ""
    trace: str = ""
    fired: str = ""


class Children:
    """Runs work in children, one after the other.

    Args:
        folder: where a child's stderr goes.
        limit: seconds for one piece of work.
    """

    def __init__(self, folder: Path, limit: float = LIMIT) -> None:
        self.errors, self.limit = folder / "stderr.txt", limit

    def run(self, work: Callable[[], Any], before: Callable[[int], None] | None = None) -> Outcome:
        """One piece of work in one child.

        Args:
            work: returns what JSON can hold.
            before: called in the child with the descriptor that the parent reads.
        """
        return next(self.batch(1, lambda _: work(), before))

    def batch(
        self,
        count: int,
        work: Callable[[int], Any],
        before: Callable[[int], None] | None = None,
    ) -> Iterator[Outcome]:
        """Work for 0, 1, ... count - 1 in as few children as may be: after one that ended badly
        another goes on with the next."""
        done = 0
        while done < count:
            for outcome in self._child(done, count, work, before):
                yield outcome
                done += 1

    def _child(
        self,
        first: int,
        count: int,
        work: Callable[[int], Any],
        before: Callable[[int], None] | None,
    ) -> Iterator[Outcome]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._work(first, count, work, before, writing)
        os.close(writing)
        fired, number, ended, last = "", first, False, None
        try:
            for line in _lines(reading, self.limit):
                if line is None:
                    _stop(pid)
                    last = Outcome("hang", message=f"over {self.limit:.0f} s", fired=fired)
                    break
                if line.startswith("at "):
                    fired = line[3:]
                    continue
                number += 1
                ended = number == count
                yield Outcome(**json.loads(line), fired=fired)
                fired = ""
        finally:
            os.close(reading)
            _, state = os.waitpid(pid, 0)
        if ended:
            return
        text = self.errors.read_text(errors="replace")[-6000:] if self.errors.exists() else ""
        if last is not None:
            last.trace = text
        else:
            code = os.waitstatus_to_exitcode(state)
            status: Status = "died" if code == DIED else "crash"
            said = f"signal {-code}" if code < 0 else f"exit {code}"
            last = Outcome(status, message=said, trace=text, fired=fired)
        yield last

    def _work(
        self,
        first: int,
        count: int,
        work: Callable[[int], Any],
        before: Callable[[int], None] | None,
        writing: int,
    ) -> None:
        """The child's life; it does not return."""
        code = 3
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            errors = os.open(self.errors, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
            os.dup2(errors, 1), os.dup2(errors, 2)
            faulthandler.enable(errors)
            if before is not None:
                before(writing)
            for number in range(first, count):
                line = json.dumps(vars_of(lambda n=number: work(n)))
                os.write(writing, line.encode() + b"\n")
            code = 0
        finally:
            os._exit(code)


def _stop(pid: int) -> None:
    """Ends a child that hangs; it says where it was."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGABRT)
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)


def vars_of(work: Callable[[], Any]) -> dict[str, Any]:
    """What became of work, without `Outcome.fired`."""
    try:
        return {"status": "ok", "value": work()}
    except RisError as e:
        message = str(e)
        if "\n" in message or "unexpected" in message or not message or len(message) > LONGEST:
            return {"status": "raw", "message": f"{type(e).__name__}: {message!r}",
                    "trace": _trace(e)}  # fmt: skip
        return {"status": "refused", "message": message}
    except MemoryError as e:
        return {"status": "memory", "message": str(e), "trace": _trace(e)}
    except BaseException as e:
        if isinstance(e, RuntimeError) and str(e) == NO_THREAD:
            return {"status": "memory", "message": str(e)}
        return {"status": "raw", "message": f"{type(e).__name__}: {e}"[:LONGEST],
                "trace": _trace(e)}  # fmt: skip


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-3000:]


def _lines(reading: int, limit: float) -> Iterator[str | None]:
    """Lines of a pipe; None where the next one takes too long."""
    rest = b""
    while True:
        ready, _, _ = select.select([reading], [], [], limit)
        if not ready:
            yield None
            return
        part = os.read(reading, 1 << 16)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode()
