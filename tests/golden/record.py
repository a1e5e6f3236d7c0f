"""`python -m tests.golden.record OUT [--exact]`: does the workload and writes a recording.

With --exact every bit is kept, to be compared on the same machine; without, what machines have in
common, as it is committed in this folder's `recorded`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.golden.recording import record, reduced


def main() -> None:
    """Records."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.record", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the recording")
    parser.add_argument("--exact", action="store_true", help="keep every bit")
    asked = parser.parse_args()
    whole = record()
    (whole if asked.exact else reduced(whole)).write(asked.out)


if __name__ == "__main__":
    main()
