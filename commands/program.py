"""How the program begins and ends: its streams, its notes, and one line for every error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from ris import notices
from ris.commands.terminal import notify
from ris.commands.wording import worded
from ris.errors import RisError
from ris.memory import keep_freed_memory


class OutputError(RisError):
    """What a command prints cannot be written."""


def show_version(wanted: bool) -> None:
    """Prints the version and ends, if it is asked for."""
    if wanted:
        from ris import __version__

        print(f"ris {__version__}")
        sys.exit(0)


def run(app: Callable[[], Any]) -> None:
    """Runs a Typer application as a program: errors become one line on stderr and exit status 1
    (usage errors: 2, an interrupt: 130)."""
    keep_freed_memory()
    _prepare_streams()
    notices.listen(notify)
    notices.spell(worded)
    warnings.showwarning = lambda message, *_: notify(str(message))
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except SystemExit as e:
        if e.code == 130:  # Typer's word for an interrupt
            notify("interrupted; what was committed is kept")
        raise
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except OutputError as e:
        _drop_output()
        _fail(str(e))
    except RisError as e:
        _fail(str(e))
    except MemoryError:
        _fail("not enough memory; what was committed is kept")
    except Exception as e:
        if os.environ.get("RIS_DEBUG"):
            raise
        _fail(_of_surroundings(e) or _unexpected(e))


def _unexpected(error: Exception) -> str:
    kind = type(error).__name__
    return f"unexpected {kind}: {error} (RIS_DEBUG=1 shows where; please report it)"


def _of_surroundings(error: Exception) -> str | None:
    """What is wrong with where and how the program was started, if that explains an error."""
    if isinstance(error, FileNotFoundError) and not _has_working_folder():
        return "the working folder does not exist any more: change to another one"
    short = ("failed to map segment", "can't start new thread")
    if isinstance(error, ImportError | RuntimeError) and any(s in str(error) for s in short):
        return "not enough memory; what was committed is kept"
    if isinstance(error, ImportError | OSError) and "Too many open files" in str(error):
        return "too many open files: raise the limit, as with `ulimit -n 1024`"
    if isinstance(error, UnicodeEncodeError | TypeError):  # the latter from compiled packages
        for word in sys.argv[1:]:
            if any("\udc80" <= c <= "\udcff" for c in word):
                shown = os.fsencode(word).decode("utf-8", "backslashreplace")
                return f"an argument is not UTF-8: {shown}"
    return None


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


class _Output(io.FileIO):
    """A stream whose failing writes are told from all other errors of files."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as e:
            raise OutputError(f"cannot write the output: {e.strerror or e}") from e


def _prepare_streams() -> None:
    """Lets names that the terminal cannot show be printed (as ``\\u1234``), and failing writes be
    known."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue  # closed, or somebody else's
        if name == "stderr":
            stream.reconfigure(errors="backslashreplace")
            continue
        with contextlib.suppress(OSError):
            stream.flush()
            raw = _Output(stream.fileno(), "wb", closefd=False)
            sys.stdout = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors="backslashreplace",
                line_buffering=stream.line_buffering,
            )


def _drop_output() -> None:
    """Leaves nothing for the interpreter to write when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]


def _fail(message: str) -> NoReturn:
    notify(message)
    sys.exit(1)
