"""Paths as they are shown."""

from __future__ import annotations

from pathlib import Path


def shown(path: Path) -> str:
    """A path, relative to the working directory where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
