"""Photos composed of aligned faces, whose places and turns are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

EYES = 0.245
"""Distance between the eyes of an aligned face, in sides of its square."""
TILT = 12.0
"""Degrees by which a pasted face is turned at random, to either side."""


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
