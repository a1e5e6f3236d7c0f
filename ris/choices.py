"""Choices and defaults that the command line shares with what it calls; imports nothing heavy."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
"""Where networks run. ``auto``: a CUDA device where torch finds one, else the processor. Of several
CUDA devices the first is taken; ``CUDA_VISIBLE_DEVICES`` says which that is."""

TAU = 0.07
"""Temperature of the softmax over classes (Eq. 4), chosen on labelled real faces
(docs/results.md). The paper takes .1."""

Rule = Literal["paper", "rescaled"]
"""Where a transfer leads, see `ris.method.transfer`."""

ALPHA = 1.3
"""How far a transfer goes: a little beyond the reference, as in the paper."""

MAX_RESOLUTION = 64
"""Widest activation in the scores unless told otherwise: wider ones find no more (docs/results.md)
and cost as much again for every doubling."""
