"""The project's exceptions: what is wrong, and what to do next.

Texts are for people and go on one line. They speak of parameters in backticks by their Python name
(`k`, `max_resolution`), and of next steps by the names of the door (`Collection.index`,
`ris.pull`); what prints an error to others than Python's users, such as `ris.commands.wording`,
puts its own words there.
"""

from __future__ import annotations

from typing import Any

from ris.choices import Stage


class RisError(Exception):
    """Base of every error that the commands print as one line (exit status 1).

    Args:
        message: what is wrong.
        hint: what to do next, if there is anything to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # not by calling the class anew: each kind has arguments of its own
        return _again, (type(self), self.args, vars(self))


def _again(kind: type[RisError], args: tuple[Any, ...], state: dict[str, Any]) -> RisError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class InputError(RisError):
    """A file, folder, latent array or option given by the user cannot be used."""


class ImageError(InputError):
    """A picture that cannot be turned into a face; `stage` says where it failed.

    `stage` is one of ``read``, ``decode``, ``align`` and ``invert``; `reason` is the message.
    """

    def __init__(self, stage: Stage, reason: str, hint: str = "") -> None:
        super().__init__(reason, hint)
        self.stage = stage
        self.reason = reason


class ModelFileError(RisError):
    """A model file is missing, cannot be fetched or is not the file that was expected."""


class StoreError(RisError):
    """The store is missing, damaged, of another version or in use."""


class MismatchError(RisError):
    """Two things were made with different settings (generator, catalogue, mask, store state)."""


class IndexMissingError(RisError):
    """No index for the feature that was asked for."""


class QueryError(RisError):
    """A query that has no answer (unknown id, bad filter, a face without the feature)."""
