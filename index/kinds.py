"""Index kinds: which to use, what it costs, and its parameters, all pure functions of the size.

| kind  | held in memory                         | search                                     |
|-------|----------------------------------------|--------------------------------------------|
| exact | nothing but buffers                    | scan of the vectors' files, exact          |
| sketch| a byte for each of 128-256 directions  | scan of the bytes, exact scores of the best|
| flat  | all vectors as float32                 | FAISS scan, exact                          |
| ivf   | float16 projections in inverted lists  | some lists, then exact scores of the best  |
| hnsw  | float16 projections and a graph        | graph walk, then exact scores of the best  |
| pq    | 32-byte codes in inverted lists        | some lists, then exact scores of the best  |
"""

from __future__ import annotations

import math

KINDS = ("exact", "sketch", "flat", "ivf", "hnsw", "pq")

EXACT_BYTES = 24 << 20
"""Size of the vectors' files up to which scanning them takes a few milliseconds."""

SKETCH_DIMS = (256, 128)
"""Bytes of a row's sketch in a small and in a large collection. Half the bytes cost hard hair
masks, whose energy is spread the widest, 1 % of recall, and save half of a large scan."""

SMALL_SKETCH = 64 << 20  # bytes of codes that are read in a few milliseconds

PROJECTED_DIMS = 256
"""Dimensions of the projection: of 128 the candidates miss 5 % of the soft-masked neighbours,
256 miss under 2 %, 512 under 1 % at twice the memory."""

PQ_DIMS = 8  # projected dimensions per code byte
HNSW_LINKS = 32  # M: links per node and level, twice that on the ground level
CANDIDATES = 20  # rows scored exactly, per row asked for
MIN_CANDIDATES = 200
CANDIDATE_SHARE = 0.1  # of the rows; with more candidates the exact scan is the cheaper way
FILTER_SHARE = 0.1  # of the rows; where a filter allows fewer they are scanned exactly
BUFFERS = 64 << 20  # bytes of scan buffers, whatever the kind


def check_kind(kind: str) -> str:
    """`kind` itself.

    Raises:
        ValueError: not one of `KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown index kind {kind!r}: one of {', '.join(KINDS)}")
    return kind


def choose_kind(rows: int, row_bytes: float, dims: int, memory: int) -> str:
    """The kind to build when the user names none.

    ``exact`` while the vectors' files are small, ``sketch`` above that, and ``exact`` again where
    not even the codes fit the memory. FAISS's kinds are never chosen: the sketch finds both ends
    in one pass, with higher recall and in less time than lists, graphs or product codes
    (docs/search.md).

    Args:
        rows: N.
        row_bytes: mean size of a stored row.
        dims: D.
        memory: bytes that searching may hold.
    """
    small = rows * row_bytes <= EXACT_BYTES
    return "exact" if small or estimate_bytes("sketch", rows, dims) > memory else "sketch"


def estimate_bytes(kind: str, rows: int, dims: int) -> int:
    """Resident bytes needed to search, without the memory-mapped vectors.

    Args:
        kind: one of `KINDS`.
        rows: N.
        dims: D.

    Raises:
        ValueError: unknown kind.
    """
    check_kind(kind)
    if kind == "exact":
        return BUFFERS
    if kind == "flat":
        return BUFFERS + rows * dims * 4
    if kind == "sketch":
        width = sketch_width(rows, dims)
        return BUFFERS + 4 * dims * width + rows * width
    width = projected_dims(rows, dims)
    shared = BUFFERS + 4 * dims * width
    if kind == "hnsw":
        return shared + rows * (2 * width + 4 * 2 * HNSW_LINKS + 24)
    shared += 4 * width * lists(rows)
    code = 2 * width if kind == "ivf" else code_bytes(width)
    return shared + rows * (code + 8)


def projected_dims(rows: int, dims: int) -> int:
    """Width of the projection: at most `PROJECTED_DIMS`, a multiple of `PQ_DIMS` if it can be."""
    width = min(PROJECTED_DIMS, dims, rows)
    return width - width % PQ_DIMS if width >= PQ_DIMS else width


def sketch_width(rows: int, dims: int) -> int:
    """Directions of a sketch."""
    most, fewer = SKETCH_DIMS
    return min(most if is_small(rows) else fewer, dims, rows)


def is_small(rows: int) -> bool:
    """Whether the wider sketch of so many rows is scanned in good time."""
    return rows * SKETCH_DIMS[0] <= SMALL_SKETCH


def code_bytes(width: int) -> int:
    """Bytes of a PQ code of `width` projected dimensions."""
    return width // PQ_DIMS if width % PQ_DIMS == 0 else 1


def lists(rows: int) -> int:
    """Number of inverted lists: 2 sqrt(N), with at least 16 rows to a list."""
    return max(1, min(int(2 * math.sqrt(rows)), rows // 16))


def training_rows(rows: int) -> int:
    """Rows to train lists and codes on."""
    return min(rows, max(10_000, 40 * lists(rows)))


def efforts(kind: str, rows: int) -> tuple[int, ...]:
    """Search efforts to try, in ascending order: lists probed, or width of the graph walk; a
    sketch has a single one."""
    if kind == "sketch":
        return (1,)
    if kind == "hnsw":
        return (200, 400, 800, 1600, 3200)
    count = lists(rows)
    shares = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
    return tuple(sorted({max(1, math.ceil(count * share)) for share in shares}))


def factors(kind: str) -> tuple[int, ...]:
    """Multiples of the candidates that tuning may choose, in ascending order."""
    return (1, 2, 4, 8) if kind == "sketch" else (1, 2, 4)


def candidates(k: int, factor: int = 1) -> int:
    """Rows of the projection to score exactly when k are asked for.

    Args:
        k: rows asked for.
        factor: multiple found necessary when the index was built.
    """
    return max(MIN_CANDIDATES, CANDIDATES * k) * factor
