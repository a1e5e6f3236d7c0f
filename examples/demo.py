"""`make demo`: a collection of rendered faces, searched with one of them and with a real photo.

Writes to ``out/demo/``: the faces, their store, a contact sheet per feature and query, and one
overview picture. Running it again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ris.data.models.asset_files import asset_path
from ris.data.store import Store
from ris.errors import RisError
from ris.index.build import DEFAULT_FEATURES, build_indices
from ris.ingest.loaded_models import Models
from ris.ingest.run import ingest_collection
from ris.ingest.sampling import sample
from ris.memory import keep_freed_memory
from ris.query.query_face import QueryFace, face_of_photo
from ris.query.searcher import SearchResult, search
from ris.query.sheet import contact_sheet, overview, save_picture

PORTRAIT = "portrait.jpg"
"""Eileen Collins, NASA astronaut; public domain (see NOTICE)."""
SIZE = 512  # pixels of the rendered faces


def run(folder: Path, faces: int, models: Models) -> Path:
    """The whole demo in `folder` with so many rendered faces; returns the overview picture."""
    print(f"1/4 rendering {faces} faces with {models.generator.name}", flush=True)
    begin = time.monotonic()
    sample(folder / "faces", models.generator, n=faces, size=SIZE, progress=_dots)
    print(f"    {time.monotonic() - begin:.0f} s", flush=True)

    print("2/4 ingesting them: style coefficients and contribution scores", flush=True)
    done = ingest_collection(str(folder / "faces"), folder / ".ris", models)
    print(f"    {done.faces} faces, {done.report.seconds:.0f} s", flush=True)

    print(f"3/4 indexing {', '.join(DEFAULT_FEATURES)}", flush=True)
    build_indices(done.store, DEFAULT_FEATURES)

    print("4/4 searching with a rendered face and with a real photo (inverted first)", flush=True)
    begin = time.monotonic()
    stored = face_of_photo(folder / "faces" / "seed000012.jpg", models, done.store)
    portrait = face_of_photo(asset_path(PORTRAIT), models, done.store)
    print(f"    inversion of the photo: {time.monotonic() - begin:.0f} s", flush=True)
    found = {"rendered": _searches(done.store, stored), "photo": _searches(done.store, portrait)}
    for name, results in found.items():
        for result in results:
            save_picture(contact_sheet(result), folder / f"{name}-{result.label}.jpg")
    target = folder / "overview.jpg"
    save_picture(overview(found["photo"]), target)
    return target


def _searches(store: Store, face: QueryFace) -> list[SearchResult]:
    return [search(store, face, {feature: 1.0}) for feature in DEFAULT_FEATURES]


def _dots(done: int) -> None:
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
        picture = run(options.out, options.faces, Models())
    except RisError as e:
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
