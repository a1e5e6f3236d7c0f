"""Looks through a pickle before anything reads it: what it would build is small and plain.

A pickle is a program. Even where it may call nothing, a few bytes can ask for a memo of gigabytes,
or for tuples of tuples whose hash takes longer than the sun has left. So its operations are gone
through once, without building anything, and it is refused unless

- every operation finds on the stack what it needs,
- the memo is numbered as picklers number it,
- keys of dictionaries and members of sets are texts, numbers or bytes (nothing else is hashed),
- no length exceeds the file.

What is left costs no more time and memory than the file has bytes, times a constant.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import IO, Any

from ris.errors import ModelFileError

_PLAIN = frozenset({"int", "int_or_bool", "bool", "str", "bytes", "bytes_or_str", "float", "None"})
"""Kinds of values, as `pickletools` names them, whose hash costs no more than their bytes."""
_OTHER = "any"
_LONGEST_NUMBER = 4_000
"""Bits of a whole number; more are never needed, and slow to print."""
_REFUSED = frozenset({"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ"})
"""Operations that no network file contains."""


def check_pickle(stream: IO[bytes], size: int) -> None:
    """Reads one pickle to its end and refuses it unless it is harmless.

    Args:
        stream: stands at the pickle's beginning; afterwards at its end.
        size: bytes of the file.

    Raises:
        pickle.UnpicklingError: it is no pickle, or damaged.
        ModelFileError: it asks for more than it could hold.
    """
    try:
        _Checker(size).run(stream)
    except ModelFileError:
        raise
    except Exception as e:  # pickletools asserts and indexes its way through damaged bytes
        raise pickle.UnpicklingError("it is no pickle, or damaged") from e


class _Checker:
    """The stack and memo of an unpickler, with kinds in place of values."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stack: list[str] = []
        self._marks: list[int] = []
        """Where the stack stood at each mark that is still open."""
        self._memo: dict[int, str] = {}

    def run(self, stream: IO[bytes]) -> None:
        """Goes through all operations up to the end of the pickle."""
        argument: Any
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            name = operation.name
            if name in _REFUSED:
                wanted = f" ({'.'.join(str(argument).split()[:2])})" if argument else ""
                raise ModelFileError(f"the pickle has an operation {name}{wanted}: not needed")
            if isinstance(argument, int) and argument.bit_length() > _LONGEST_NUMBER:
                raise ModelFileError("the pickle holds a number of thousands of digits")
            if name == "FRAME" and argument > self._size:
                raise ModelFileError("the pickle is longer than its file")
            if name in ("PUT", "BINPUT", "LONG_BINPUT"):
                self._remember(argument, most=count)
            elif name == "MEMOIZE":
                self._remember(len(self._memo), most=count)
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                self._stack.append(self._memo[argument])
            elif name == "DUP":
                self._stack.append(self._stack[-1])
            elif name == "MARK":
                self._marks.append(len(self._stack))
            else:
                self._apply(operation)

    def _remember(self, number: int, most: int) -> None:
        """Picklers number what they remember from 0 or 1, one operation or more for each."""
        if not 0 <= number <= most:
            raise ModelFileError("the pickle's memo has numbers that no pickler gives")
        self._memo[number] = self._stack[-1]

    def _apply(self, operation: Any) -> None:
        """Takes from the stack what the operation takes, and puts what it gives."""
        taken = [kind.name for kind in operation.stack_before]
        if "stackslice" in taken:
            items = self._take(len(self._stack) - self._marks[-1])
            self._marks.pop()
            taken = taken[: taken.index("mark")]
        else:
            items = []
        items = self._take(len(taken)) + items
        self._check_hashed(operation.name, items)
        self._stack += [
            kind.name if kind.name in _PLAIN else _OTHER for kind in operation.stack_after
        ]

    def _take(self, count: int) -> list[str]:
        """The last values of the stack, down to the last mark at most."""
        left = len(self._stack) - count
        if left < (self._marks[-1] if self._marks else 0):
            raise ValueError("nothing on the stack")
        taken = self._stack[left:]
        del self._stack[left:]
        return taken

    def _check_hashed(self, name: str, items: list[str]) -> None:
        """Refuses keys whose hash could take long; of most operations the items are hashed by
        nobody."""
        if name in ("SETITEM", "SETITEMS"):
            hashed = items[1::2]
        elif name == "DICT":
            hashed = items[::2]
        elif name == "ADDITEMS":
            hashed = items[1:]
        elif name == "FROZENSET":
            hashed = items
        else:
            return
        if not set(hashed) <= _PLAIN:
            raise ModelFileError("the pickle has a key that is neither a text nor a number")
