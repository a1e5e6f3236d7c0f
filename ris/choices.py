"""Choices and defaults that the command line shares with what it calls; imports nothing heavy."""

from __future__ import annotations

from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
"""Where networks run. ``auto``: a CUDA device where torch finds one, else the processor. Of several
CUDA devices the first is taken; ``CUDA_VISIBLE_DEVICES`` says which that is."""

Engine = Literal["auto", "native", "torch"]
"""What computes contribution scores: kernels compiled for this processor, or torch alone. Both give
the same scores but for rounding, so a store does not record it. ``auto``: kernels where there is a
compiler, else torch."""

Aligned = Literal["auto", "yes", "no"]
"""Whether photos are face crops as in FFHQ, to be taken as they are; ``auto`` finds out."""

Faces = Literal["largest", "all"]
"""Which faces of a photo become rows."""

InverterName = Literal["encoder", "optimisation"]
"""How a photo becomes a code where no checkpoint is named."""

Stage = Literal["read", "decode", "align", "invert"]
"""Where a photo failed, see `ris.errors.ImageError`."""

MaskMode = Literal["soft", "hard", "score"]
"""How channels are selected, see `ris.method.features.MaskOptions`."""

TAU = 0.07
"""Temperature of the softmax over classes (Eq. 4), chosen on labelled real faces
(docs/lab/results.md). The paper takes .1."""

NormMode = Literal["blend", "layer", "channel", "none"]
"""How style coefficients are normalised over the collection, see `ris.method.statistics`."""

IndexKind = Literal["auto", "exact", "sketch", "ivf", "hnsw"]
"""Kinds of indices, see `ris.index.KINDS`; ``auto`` chooses by the size."""

Rule = Literal["paper", "rescaled"]
"""Where a transfer leads, see `ris.method.transfer`."""

Method = Literal["ris", "eis"]
"""Whose masks a transfer has: of the two faces (RIS), or averaged over many (EIS)."""

Blend = Literal["crop", "change"]
"""What goes back into a photo: the whole crop, or what the edit changed."""

ALPHA = 1.3
"""How far a transfer goes: a little beyond the reference, as in the paper."""

MAX_RESOLUTION = 64
"""Widest activation in the scores unless told otherwise: wider ones find no more, and cost as much
again for every doubling (docs/lab/results.md)."""

PictureFormat = Literal["jpg", "png"]
"""How rendered faces are written."""

LabelSource = Literal["truth", "predicted"]
"""Where attributes come from: the metadata, or a classifier's view of the photos."""

FileOrigin = Literal["wheel", "npm"]
"""Which registry a model's file comes from."""

FileState = Literal["present", "missing", "damaged"]
"""What there is of a model's file."""

ModelsAction = Literal["list", "pull", "convert"]
"""What `ris models` does."""
