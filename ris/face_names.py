"""How faces are named that are no photos: by an id, by a seed of the generator."""

from __future__ import annotations

from dataclasses import dataclass

from ris.errors import InputError


@dataclass(frozen=True)
class FaceId:
    """A stored face, named where a photo could stand too. Its id may be abbreviated where that is
    unambiguous."""

    id: str

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class Seed:
    """A face that the generator makes up.

    Attributes:
        number: from 0; the same number gives the same face.
        truncation: 0 (the mean face) to 1 (full variety); None: the usual 0.7.

    Raises:
        InputError: one of them is out of range.
    """

    number: int
    truncation: float | None = None

    def __post_init__(self) -> None:
        if self.number < 0:
            raise InputError(f"a seed is 0 or more, not {self.number}")
        if self.truncation is not None and not 0 <= self.truncation <= 1:
            raise InputError(f"truncation lies between 0 and 1, not {self.truncation:g}")

    def __str__(self) -> str:
        return f"seed:{self.number}" + ("" if self.truncation is None else f"@{self.truncation:g}")
