"""What the command lines of all benchmarks share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring as it stands."""
    return argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that `write_json` takes."""
    parser.add_argument("--json", type=Path, help="file to write the result to")


def write_json(result: Any, path: Path | None) -> None:
    """Writes a result, unless no file was named for it."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
