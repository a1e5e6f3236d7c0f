"""``python -m ris``: the same as the command ``ris``."""

from __future__ import annotations

from ris.cli import main

main()
