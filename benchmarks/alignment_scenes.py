"""How the face finder does on composed scenes: what it finds, which way up, at which photo sizes.

    python -m benchmarks.alignment_scenes --scenes 2400 --photos 40 --json scenes.json
    python -m benchmarks.alignment_scenes --faces faces/ ../shared/faces/celebahq512/images

Aligned faces are pasted onto backgrounds without any: as crops and portraits, small, turned, into
tall strips, panoramas and groups. Rendered faces by default, with real ones where they are at hand.
A face counts as found if a square of about its size lies where it was pasted; it is wrong if that
square or the head's roll is more than 20 degrees from how it was pasted. Then the same scenes are
shown at widths from 500 to 4,000 px, and the same faces, of equal size in pixels, in photos of
these widths. Everything follows from the seed.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.arguments import add_json, parser_of, write_json
from benchmarks.measures.scenes import EYES, KINDS, SHARES, Brush, Composer, Pasted, Scene
from ris.evaluate.markdown import markdown_table
from ris.ingest.alignment.face_square import crop, side
from ris.ingest.alignment.finder import Face, FaceFinder

WRONG = 20.0
"""Degrees from which a face is cut the wrong way."""
NEAR, LARGER = 0.25, 1.6
"""How far, in sides, and by what factor in size a found square may be off the pasted one."""
WIDTHS = (500, 719, 720, 1000, 1439, 1440, 2000, 2879, 4000)
REAL = Path(__file__).resolve().parents[2] / "shared" / "faces" / "celebahq512" / "images"
RENDERED = 80
COLUMNS, ROWS, TILE = 16, 10, 80
SCALED, EQUAL = "scene scaled as a whole", "25 to 30 px between the eyes"


@dataclass
class Count:
    """What became of the faces of one kind of scene: `seconds` of CPU in the finder, and the
    `angles`, in degrees, by which the wrong ones are off."""

    scenes: int = 0
    faces: int = 0
    found: int = 0
    wrong: int = 0
    invented: int = 0
    seconds: float = 0.0
    angles: list[float] = field(default_factory=list)


def off(angle: float) -> float:
    """An angle's distance from zero, degrees."""
    return abs((angle + 180) % 360 - 180)


def turn_of(face: Face) -> float:
    """How far a face's square is turned clockwise, degrees."""
    across = face.quad[3] - face.quad[0]
    return math.degrees(math.atan2(across[1], across[0]))


def match(face: Face, pasted: Pasted) -> bool:
    """Whether a found face lies where one was pasted."""
    apart = math.hypot(*(face.quad.mean(0) - (pasted.x, pasted.y)))
    ratio = side(face.quad) / pasted.side
    return apart < NEAR * pasted.side and 1 / LARGER < ratio < LARGER


class Sheet:
    """A contact sheet: some of the cuts, to look at."""

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every
        self._seen = 0
        self._tiles: list[np.ndarray] = []

    def add(self, scene: Scene, face: Face) -> None:
        """Keeps every so manyth cut."""
        if self._seen % self._every == 0 and len(self._tiles) < COLUMNS * ROWS:
            self._tiles.append(crop(scene.photo, face.quad, TILE))
        self._seen += 1

    def save(self) -> None:
        """Writes the picture."""
        sheet = Image.new("RGB", (COLUMNS * TILE, ROWS * TILE))
        for number, tile in enumerate(self._tiles):
            place = (number % COLUMNS * TILE, number // COLUMNS * TILE)
            sheet.paste(Image.fromarray(tile), place)
        sheet.save(self._path)


class Examiner:
    """Shows scenes to the finder."""

    @cached_property
    def _finder(self) -> FaceFinder:
        return FaceFinder()

    def __init__(self, sheet: Sheet | None = None) -> None:
        self._sheet = sheet

    def examine(self, scene: Scene, count: Count) -> list[Face]:
        """What is found in a scene; counts it. Photos of one face are searched as ingest does."""
        begin = time.process_time()
        found = self._finder.find(scene.photo, largest=len(scene.faces) == 1)
        count.seconds += time.process_time() - begin
        count.scenes += 1
        count.faces += len(scene.faces)
        left = list(found)
        for pasted in scene.faces:
            face = next((f for f in left if match(f, pasted)), None)
            if face is None:
                continue
            left = [f for f in left if f is not face]
            count.found += 1
            error = max(off(turn_of(face) - pasted.turn), off(face.roll - pasted.turn))
            if error > WRONG:
                count.wrong += 1
                count.angles.append(round(error, 1))
        count.invented += len(left)
        if self._sheet is not None and found:
            self._sheet.add(scene, found[count.scenes % len(found)])
        return found


def by_kind(composer: Composer, scenes: int, examiner: Examiner) -> dict[str, Count]:
    """All kinds of scenes, `scenes` in total."""
    counts = {}
    shares = {kind: SHARES.get(kind, 1.0) for kind in KINDS}
    for kind, share in shares.items():
        counts[kind] = Count()
        for number in range(max(1, round(scenes * share / sum(shares.values())))):
            examiner.examine(composer.scene(kind, number), counts[kind])
    return counts


def by_width(
    faces: Sequence[Path], photos: int, seed: int, examiner: Examiner, widths: Sequence[int]
) -> dict[str, dict[int, Count]]:
    """The same scenes at several widths: scaled as a whole, and with the face as it was."""
    tables = {name: {width: Count() for width in widths} for name in (SCALED, EQUAL)}
    for name, counts in tables.items():
        for number in range(photos):
            for width in widths:  # the same random numbers at each
                brush = Brush(faces, np.random.default_rng([seed, number]))
                share, eyes = brush.between(0.21, 0.4), brush.between(25, 30)
                size = share * width if name == SCALED else eyes / EYES
                examiner.examine(brush.one(width, 0.5 * width, size), counts[width])
    return tables


def render(folder: Path, count: int, seed: int) -> None:
    """Renders faces, as `ris sample` does."""
    from ris.data.models.shipped import load_generator
    from ris.ingest.sampling import sample

    sample(folder, load_generator(), n=count, seed=seed, size=512)


def pictures(folders: Sequence[Path]) -> list[Path]:
    """The pictures of some folders, in order."""
    return [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix in (".jpg", ".png")
    ]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Prints Markdown tables; returns what they say."""
    parser = parser_of(__doc__)
    parser.add_argument("--faces", type=Path, nargs="*", help="folders of aligned faces")
    parser.add_argument("--scenes", type=int, default=2400, help="scenes of all kinds")
    parser.add_argument("--photos", type=int, default=40, help="scenes shown at all widths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="picture of some of the cuts")
    add_json(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folders = options.faces
        if not folders:
            render(Path(temporary), RENDERED, options.seed)
            folders = [Path(temporary), *([REAL] if REAL.is_dir() else [])]
        faces = pictures(folders)
        most = COLUMNS * ROWS
        sheet = Sheet(options.sheet, 1 + options.scenes // most) if options.sheet else None
        examiner = Examiner(sheet)
        counts = by_kind(Composer(faces, options.seed), options.scenes, examiner)
        if sheet is not None:
            sheet.save()
        widths = by_width(faces, options.photos, options.seed, Examiner(), WIDTHS)
    _print_kinds(counts)
    for name, table in widths.items():
        _print_widths(name, table)
    result = {
        "kinds": {kind: asdict(count) for kind, count in counts.items()},
        "widths": {n: {w: asdict(c) for w, c in t.items()} for n, t in widths.items()},
    }
    write_json(result, options.json)
    return result


def _print_kinds(counts: dict[str, Count]) -> None:
    total = Count()
    for count in counts.values():
        for name, value in asdict(count).items():
            setattr(total, name, getattr(total, name) + value)
    names = ["scenes", "number", "faces", "found", "recall", "over 20° off", "not pasted"]
    rows = [
        (
            kind, c.scenes, c.faces, c.found, f"{100 * c.found / c.faces:.1f} %", c.wrong,
            c.invented, f"{1e3 * c.seconds / c.scenes:.1f}",
        )
        for kind, c in {**counts, "all": total}.items()
    ]  # fmt: skip
    print(markdown_table([*names, "CPU ms a scene"], rows))


def _print_widths(name: str, table: dict[int, Count]) -> None:
    found = [f"{100 * c.found / c.faces:.0f} %" for c in table.values()]
    print("\n" + markdown_table([f"{name}: width, px", *table], [["found", *found]]))


if __name__ == "__main__":
    main()
