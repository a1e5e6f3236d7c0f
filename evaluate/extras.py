"""Packages that only evaluation needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ris.errors import InputError


@contextlib.contextmanager
def needs(package: str) -> Iterator[None]:
    """Around an import: says how to install what is missing.

    Raises:
        InputError: the package cannot be imported.
    """
    try:
        yield
    except ImportError as e:
        raise InputError(
            f"this needs {package}, of the extra eval", "pip install 'ris-faces[eval]'"
        ) from e
