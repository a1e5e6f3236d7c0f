"""How hard an approximate index searches, per end."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Effort:
    """How hard one end is searched.

    Attributes:
        width: inverted lists probed, or width of the graph walk.
        factor: multiple of the usual number of candidates.
    """

    width: int
    factor: int = 1


@dataclass(frozen=True)
class Efforts:
    """The effort of either end."""

    nearest: Effort
    furthest: Effort

    def to_json(self) -> dict[str, dict[str, int]]:
        """For meta.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, dict[str, int]]) -> Efforts:
        """The reverse of `to_json`; KeyError or TypeError if it is no such thing."""
        return cls(Effort(**value["nearest"]), Effort(**value["furthest"]))
