"""Where a face lies in its photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def square_of(
    quad: Sequence[float] | np.ndarray | None,
    aligned: Any,
    dtype: type[np.floating[Any]] = np.float64,
) -> np.ndarray | None:
    """(4, 2) corners of a row's square, in pixels of the upright photo; None where the photo is
    taken as it is: it is the face's crop already, or nobody looked for a face.

    Args:
        quad: the column: 8 numbers, or None.
        aligned: the column: whether the photo is the crop.
        dtype: of the corners.
    """
    if quad is None or aligned:
        return None
    return np.array(quad, dtype).reshape(4, 2)
