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

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ingest.alignment.finder import Face, FaceFinder
from ingest.alignment.quad import side

EYES = 0.245
"""Distance between the eyes of an aligned face, in sides of its square."""
WRONG = 20.0
"""Degrees from which a face is cut the wrong way."""
NEAR, LARGER = 0.25, 1.6
"""How far, in sides, and by what factor in size a found square may be off the pasted one."""
TILT = 12.0
"""Degrees by which a pasted face is turned at random, to either side."""
WIDTHS = (500, 719, 720, 1000, 1439, 1440, 2000, 2879, 4000)
REAL = Path(__file__).resolve().parents[2] / "shared" / "faces" / "celebahq512" / "images"
RENDERED = 80
SCALED, EQUAL = "scene scaled as a whole", "25 to 30 px between the eyes"


@dataclass(frozen=True)
class Pasted:
    """A face in a scene: centre and side of its square in pixels, and its turn clockwise."""

    x: float
    y: float
    side: float
    turn: float


@dataclass(frozen=True)
class Scene:
    """A photo and what is in it."""

    photo: Image.Image
    faces: list[Pasted]


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


class Composer:
    """Makes scenes of aligned faces, all of them from one seed."""

    def __init__(self, faces: Sequence[Path], seed: int) -> None:
        self._faces = faces
        self._seed = seed

    def scene(self, kind: str, number: int) -> Scene:
        """The scene of that number and kind, always the same."""
        rng = np.random.default_rng([self._seed, sorted(KINDS).index(kind), number])
        return KINDS[kind](Brush(self._faces, rng))


class Brush:
    """Draws one scene."""

    def __init__(self, faces: Sequence[Path], rng: np.random.Generator) -> None:
        self._faces = faces
        self._rng = rng

    def between(self, low: float, high: float) -> float:
        """A number between two, evenly spread by ratio."""
        return float(math.exp(self._rng.uniform(math.log(low), math.log(high))))

    def canvas(self, width: float, height: float) -> Image.Image:
        """Something without faces: one colour, or smooth random ones."""
        size = (round(width), round(height))
        rng = np.random.default_rng(self._rng.integers(2**32))  # whatever the size, one draw
        if rng.random() < 0.3:
            return Image.new("RGB", size, tuple(int(v) for v in rng.integers(0, 256, 3)))
        cells = (max(size) // 64 + 2) if rng.random() < 0.5 else 9
        colours = rng.integers(0, 255, (max(2, cells * size[1] // max(size)), cells, 3))
        picture = Image.fromarray(colours.astype(np.uint8))
        return picture.resize(size, Image.Resampling.BICUBIC)

    def face(self) -> Image.Image:
        """One of the faces, as its file has it."""
        with Image.open(self._faces[self._rng.integers(len(self._faces))]) as file:
            return file.convert("RGB")

    def paste(self, photo: Image.Image, x: float, y: float, size: float, turn: float) -> Pasted:
        """Pastes a face, centred at x and y."""
        angle = turn + self._rng.uniform(-TILT, TILT)
        face = self.face().resize((round(size), round(size)), Image.Resampling.LANCZOS)
        mask = Image.new("L", face.size, 255)
        face = face.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
        mask = mask.rotate(-angle, Image.Resampling.BICUBIC, expand=True)
        left, top = round(x - face.width / 2), round(y - face.height / 2)
        photo.paste(face, (left, top), mask)
        return Pasted(left + face.width / 2, top + face.height / 2, round(size), angle)

    def place(self, photo: Image.Image, size: float, turn: float) -> Pasted:
        """Pastes a face anywhere, whole."""
        room = size * (0.5 if photo.width < 1.3 * size or photo.height < 1.3 * size else 0.62)
        x, y = (
            self._rng.uniform(room, length - room) if length > 2 * room else length / 2
            for length in photo.size
        )
        return self.paste(photo, x, y, size, turn)

    def one(self, width: float, height: float, size: float, turn: float = 0.0) -> Scene:
        """A photo of one face."""
        photo = self.canvas(width, height)
        return Scene(photo, [self.place(photo, size, turn)])

    def many(self, turned: bool) -> Scene:
        """A group photo: faces in rows, the sizes falling towards the back."""
        columns, rows = int(self._rng.integers(3, 9)), int(self._rng.integers(2, 5))
        cell = self.between(110, 330)
        photo = self.canvas(columns * cell * 1.3, rows * cell * 1.3)
        lying = int(self._rng.integers(rows * columns)) if turned else -1
        pasted = []
        for number in range(rows * columns):
            x = (number % columns + 0.5) * cell * 1.3
            y = (number // columns + 0.5) * cell * 1.3
            size = cell * self._rng.uniform(0.9, 1.0)
            turn = float(self._rng.choice((90, 180, 270))) if number == lying else 0.0
            pasted.append(self.paste(photo, x, y, size, turn))
        return Scene(photo, pasted)

    def crop(self) -> Scene:
        """A photo that is a face crop already."""
        size = round(self.between(150, 1024))
        face = self.face().resize((size, size), Image.Resampling.LANCZOS)
        return Scene(face, [Pasted(size / 2, size / 2, size, 0.0)])

    def portrait(self, low: float, high: float, turn: float = 0.0) -> Scene:
        """A face of a good part of a photo of any shape."""
        long = self.between(600, 2400)
        short = long * self._rng.uniform(0.6, 1.0)
        width, height = (long, short) if self._rng.random() < 0.5 else (short, long)
        return self.one(width, height, short * self._rng.uniform(low, high), turn)

    def small(self, turn: float = 0.0) -> Scene:
        """A face of 25 to 60 px between the eyes in a larger photo."""
        long = self.between(700, 2400)
        size = self.between(25, 60) / EYES
        return self.one(long, max(long * self._rng.uniform(0.6, 1.0), 1.4 * size), size, turn)

    def strip(self, wide: bool) -> Scene:
        """A face in a photo that is much longer than wide."""
        short = self.between(400, 1100)
        long = short * self._rng.uniform(2.0, 5.0)
        size = short * self._rng.uniform(0.3, 0.7)
        width, height = (long, short) if wide else (short, long)
        return self.one(width, height, size)


KINDS: dict[str, Callable[[Brush], Scene]] = {
    "crop": Brush.crop,
    "portrait": lambda b: b.portrait(0.4, 0.9),
    "portrait, 90°": lambda b: b.portrait(0.3, 0.8, 90),
    "portrait, 180°": lambda b: b.portrait(0.3, 0.8, 180),
    "portrait, 270°": lambda b: b.portrait(0.3, 0.8, 270),
    "small": Brush.small,
    "small, 90°": lambda b: b.small(90),
    "small, 180°": lambda b: b.small(180),
    "small, 270°": lambda b: b.small(270),
    "tall strip": lambda b: b.strip(False),
    "panorama": lambda b: b.strip(True),
    "group": lambda b: b.many(False),
    "group, one turned": lambda b: b.many(True),
}
SHARES = {"small": 2.0, "tall strip": 2.0, "group": 0.5, "group, one turned": 0.5}
"""How many scenes of a kind there are for one of any other."""


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


class Examiner:
    """Shows scenes to the finder."""

    @cached_property
    def _finder(self) -> FaceFinder:
        return FaceFinder()

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
    faces: Sequence[Path], photos: int, seed: int, examiner: Examiner
) -> dict[str, dict[int, Count]]:
    """The same scenes at all of `WIDTHS`: scaled as a whole, and with the face as it was."""
    tables: dict[str, dict[int, Count]] = {
        SCALED: {w: Count() for w in WIDTHS},
        EQUAL: {w: Count() for w in WIDTHS},
    }
    for name, counts in tables.items():
        for number in range(photos):
            for width in WIDTHS:  # the same random numbers at each
                brush = Brush(faces, np.random.default_rng([seed, number]))
                share, eyes = brush.between(0.21, 0.4), brush.between(25, 30)
                size = share * width if name == SCALED else eyes / EYES
                examiner.examine(brush.one(width, 0.5 * width, size), counts[width])
    return tables


def render(folder: Path, count: int, seed: int) -> None:
    """Renders faces, as `ris sample` does."""
    from data.assets import load_generator
    from ingest.sampling import sample

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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faces", type=Path, nargs="*", help="folders of aligned faces")
    parser.add_argument("--scenes", type=int, default=2400, help="scenes of all kinds")
    parser.add_argument("--photos", type=int, default=40, help="scenes shown at all widths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file to write the result to")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folders = options.faces
        if not folders:
            render(Path(temporary), RENDERED, options.seed)
            folders = [Path(temporary), *([REAL] if REAL.is_dir() else [])]
        faces, examiner = pictures(folders), Examiner()
        counts = by_kind(Composer(faces, options.seed), options.scenes, examiner)
        widths = by_width(faces, options.photos, options.seed, examiner)
    _print_kinds(counts)
    for name, table in widths.items():
        _print_widths(name, table)
    result = {
        "kinds": {kind: asdict(count) for kind, count in counts.items()},
        "widths": {n: {w: asdict(c) for w, c in t.items()} for n, t in widths.items()},
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _print_kinds(counts: dict[str, Count]) -> None:
    total = Count()
    for count in counts.values():
        for name, value in asdict(count).items():
            setattr(total, name, getattr(total, name) + value)
    print(
        "| scenes | number | faces | found | recall | over 20° off | not pasted | CPU ms a scene |"
    )
    print("|---" * 8 + "|")
    for kind, c in {**counts, "all": total}.items():
        print(
            f"| {kind} | {c.scenes} | {c.faces} | {c.found} | {100 * c.found / c.faces:.1f} % "
            f"| {c.wrong} | {c.invented} | {1e3 * c.seconds / c.scenes:.1f} |"
        )


def _print_widths(name: str, table: dict[int, Count]) -> None:
    print(f"\n| {name}: width, px | " + " | ".join(str(width) for width in table) + " |")
    print("|---" * (1 + len(table)) + "|")
    print(
        "| found | " + " | ".join(f"{100 * c.found / c.faces:.0f} %" for c in table.values()) + " |"
    )


if __name__ == "__main__":
    main()
