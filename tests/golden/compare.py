"""`python -m tests.golden.compare A B`: where two recordings differ.

Two exact recordings are compared bit for bit, others within tolerances.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden.recording import Recording, reduced

NUMBERS = 5e-3
"""How far what was measured may be apart (similarities, shares), and degrees twenty times as far;
every other number is a setting or a count and stays as it is.

All tolerances are about three times what was measured between kernels for AVX-512, for AVX2, and
none with torch's and oneDNN's oldest code: similarities went up to .0018 apart, degrees .035.
Photos make most of it: the encoder's latent moves by 5e-4, and where a pixel changes its class, a
score of a layer of 4 px moves by several hundredths at once.
"""
DEGREES = frozenset({"yaw", "pitch", "roll"})
MEASURED = frozenset({"score", "smile", "area", "columns", *DEGREES})
"""Keys of measured numbers or of tables of them."""


@dataclass(frozen=True)
class Tolerance:
    """How far arrays may be apart: root mean square and largest difference.

    Both in root mean squares of what was recorded, in pictures in levels of 255.
    """

    typical: float
    largest: float


PIXELS = Tolerance(0.7, 15)  # measured: .21 and 5
CLASSES = Tolerance(0.03, 0.5)  # measured: .011 and .18, both of hard masks
OTHERS = Tolerance(0.0015, 0.015)  # measured: .0005 and .0048, of the encoder's latents


def tolerance(name: str) -> Tolerance:
    """That of an array, by its name."""
    last = name.rpartition("/")[2]
    if last == "pixels":
        return PIXELS
    return CLASSES if last in ("scores", "vectors", "blendshapes") else OTHERS


def differences(recorded: Recording, now: Recording) -> list[str]:
    """Where two recordings differ, one line each; empty where they do not."""
    if not (recorded.exact and now.exact):
        recorded, now = reduced(recorded), reduced(now)
    exact = recorded.exact
    return [
        *_of_values("", recorded.values, now.values, exact),
        *_of_arrays(recorded, now, exact),
    ]


def _of_values(way: str, old: Any, new: Any, exact: bool) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            there = f"{way}/{key}" if way else key
            if key not in old or key not in new:
                yield f"{there}: only {'now' if key in new else 'recorded'}"
            else:
                yield from _of_values(there, old[key], new[key], exact)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (was, is_now) in enumerate(zip(old, new, strict=True)):
            yield from _of_values(f"{way}[{i}]", was, is_now, exact)
    elif not _same(way, old, new, exact):
        yield f"{way}: {old!r} recorded, {new!r} now"


def _same(way: str, old: Any, new: Any, exact: bool) -> bool:
    if type(old) is not type(new):
        return False
    keys = set(re.split(r"[/\[]", way))
    if isinstance(old, float) and keys & MEASURED and not exact:
        allowed = 20 * NUMBERS if keys & DEGREES else NUMBERS
        return math.isclose(old, new, rel_tol=0, abs_tol=allowed)
    return bool(old == new)


def _of_arrays(recorded: Recording, now: Recording, exact: bool) -> Iterator[str]:
    for name in sorted(recorded.arrays.keys() | now.arrays.keys()):
        if name not in recorded.arrays or name not in now.arrays:
            yield f"{name}: only {'now' if name in now.arrays else 'recorded'}"
            continue
        old, new = recorded.arrays[name], now.arrays[name]
        if (old.dtype, old.shape) != (new.dtype, new.shape):
            yield f"{name}: {old.dtype}{old.shape} recorded, {new.dtype}{new.shape} now"
        elif exact or old.dtype.kind not in "fu":
            if old.tobytes() != new.tobytes():
                yield f"{name}: other values"
        elif (off := _apart(name, old, new)) > 1:
            yield f"{name}: {off:.3g} times the tolerance apart"


def _apart(name: str, old: np.ndarray, new: np.ndarray) -> float:
    """How far arrays are apart, in tolerances; infinity for what is no number on one side."""
    allowed = tolerance(name)
    known = np.isfinite(old)
    if (known != np.isfinite(new)).any():
        return math.inf
    was = old[known].astype(np.float64)
    off = np.abs(new[known] - was)
    if not off.any():
        return 0.0
    unit = 1.0 if allowed is PIXELS else _rms(was) or math.ulp(0.0)
    return max(_rms(off) / allowed.typical, float(off.max()) / allowed.largest) / unit


def _rms(values: np.ndarray) -> float:
    return math.sqrt(float(np.mean(values**2)))


def main() -> int:
    """Compares."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.compare", description=__doc__)
    parser.add_argument("recorded", type=Path)
    parser.add_argument("now", type=Path)
    asked = parser.parse_args()
    old, new = Recording.read(asked.recorded), Recording.read(asked.now)
    found = differences(old, new)
    print(*found, sep="\n", end="\n" if found else "")
    how = "bit for bit" if old.exact and new.exact else "within tolerances"
    print(f"{len(found)} differences, compared {how}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
