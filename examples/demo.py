"""`make demo`: a collection of rendered faces, searched with one of them and with a real photo.

Writes to ``out/demo/``: the faces, their store, a contact sheet per feature and query, and one
overview picture. Running it again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import ris
from ris.data.models.asset_files import asset_path
from ris.memory import keep_freed_memory

PORTRAIT = "portrait.jpg"
"""Eileen Collins, NASA astronaut; public domain (see NOTICE)."""
SIZE = 512  # pixels of the rendered faces


FEATURES = ("eyes", "nose", "mouth", "hair", "pose")


def run(folder: Path, faces: int) -> Path:
    """The whole demo in `folder` with so many rendered faces; returns the overview picture."""
    print(f"1/4 rendering {faces} faces", flush=True)
    begin = time.monotonic()
    ris.sample(folder / "faces", faces, size=SIZE, progress=_dots)
    print(f"    {time.monotonic() - begin:.0f} s", flush=True)

    print("2/4 ingesting them: style coefficients and contribution scores", flush=True)
    begin = time.monotonic()
    collection = ris.create(folder / ".ris")
    collection.ingest(folder / "faces")
    print(f"    {len(collection)} faces, {time.monotonic() - begin:.0f} s", flush=True)

    print(f"3/4 indexing {', '.join(FEATURES)}", flush=True)
    collection.index(FEATURES)

    print("4/4 searching with a rendered face and with a real photo (inverted first)", flush=True)
    queries = {"rendered": folder / "faces" / "seed000012.jpg", "photo": asset_path(PORTRAIT)}
    found = {
        name: [collection.search(photo, feature) for feature in FEATURES]
        for name, photo in queries.items()
    }
    for name, results in found.items():
        for result in results:
            result.sheet(folder / f"{name}-{result.label}.jpg", furthest=True)
    return ris.overview(found["photo"], folder / "overview.jpg")


def _dots(stage: str, done: int, total: int | None) -> None:
    if done % 10 == 0:
        print(f"    {done}", end="\n" if done % 100 == 0 else " ", flush=True)


def main() -> None:
    """Command line of ``python -m examples.demo``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=150, help="number of rendered faces")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write to")
    options = parser.parse_args()
    begin = time.monotonic()
    try:
        picture = run(options.out, options.faces)
    except ris.RisError as e:
        sys.exit(f"ris: {e}")
    print(f"\ndone in {time.monotonic() - begin:.0f} s; look at")
    print(f"  {picture}  every feature of the photo at a glance")
    for sheet in sorted(options.out.glob("*-*.jpg")):
        print(f"  {sheet}")
    print(f"\nsearch on yourself: cd {options.out}, then")
    print("  ris query faces/seed000007.jpg --feature hair --k 5 --furthest --out sheet.png")


if __name__ == "__main__":
    keep_freed_memory()
    main()
