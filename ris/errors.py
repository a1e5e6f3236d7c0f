"""The project's exceptions. Every message is one line for a person and names the next step."""

from __future__ import annotations


class RisError(Exception):
    """Base of every error that the commands print as one line (exit status 1)."""


class InputError(RisError):
    """A file, folder, latent array or option given by the user cannot be used."""


class ImageError(InputError):
    """A picture that cannot be turned into a face; `stage` says where it failed.

    `stage` is one of ``read``, ``decode``, ``align`` and ``invert``.
    """

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
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
