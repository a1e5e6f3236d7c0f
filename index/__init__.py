"""Rows of the store to per-feature indices: the table of index kinds, and which to use.

What a kind holds and reads is told by its class (`Kind.cost`).
"""

from __future__ import annotations

from ris.index.exact import Exact
from ris.index.faiss_kinds import Hnsw, Ivf
from ris.index.kind import Kind
from ris.index.sketch import Sketch

KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Exact, Sketch, Ivf, Hnsw)}
"""Every index kind by its name: the one place that knows them all."""

FORMER = ("flat", "pq")
"""Kinds that earlier versions had; their indices are built anew."""

EXACT_BYTES = 24 << 20
"""Size of the vectors' files up to which scanning them takes a few milliseconds."""

DEFAULT_MEMORY = 4 << 30
"""Bytes that searching may hold unless told otherwise."""


def kind_of(name: str) -> type[Kind]:
    """The kind of a name.

    Raises:
        ValueError: not one of `KINDS`.
    """
    if name not in KINDS:
        raise ValueError(f"unknown index kind {name!r}: one of {', '.join(KINDS)}")
    return KINDS[name]


def choose_kind(rows: int, row_bytes: float, dims: int, memory: int = DEFAULT_MEMORY) -> str:
    """The kind to build when the user names none.

    ``exact`` while the vectors' files are small, ``sketch`` above that, and ``exact`` again where
    not even the codes fit the memory. FAISS's kinds are never chosen: the sketch finds both ends
    in one pass, with higher recall and in less time than lists or graphs; see
    docs/explanation/search.md.

    Args:
        rows: N.
        row_bytes: mean size of a stored row.
        dims: D.
        memory: bytes that searching may hold.
    """
    small = rows * row_bytes <= EXACT_BYTES
    return Exact.name if small or Sketch.held_bytes(rows, dims) > memory else Sketch.name
