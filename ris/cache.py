"""The folder for what is fetched or compiled once and kept: model files and kernels."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "RIS_CACHE"
"""Environment variable that names another folder."""


def cache_folder() -> Path:
    """``$RIS_CACHE``, or ``ris`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache`` on
    Linux)."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ris"))


def cannot_write(error: OSError) -> str:
    """Why something cannot be kept there, and what to do."""
    return (
        f"cannot write to the cache folder {cache_folder()} ({error.strerror or error}): "
        f"set {VARIABLE} to a folder that can be written"
    )
