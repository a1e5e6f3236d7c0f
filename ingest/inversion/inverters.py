"""The choice of an inverter: encoder, encoder with refinement, or optimisation."""

from __future__ import annotations

from pathlib import Path

import torch

from ris.choices import InverterName
from ris.errors import InputError
from ris.fingerprints import text_digest
from ris.generators import Generator
from ris.ingest.inversion.contract import Inversion, Inverter, Progress
from ris.ingest.inversion.encoder_inverter import load_checkpoint_inverter, load_encoder_inverter
from ris.ingest.inversion.optimisation import REFINEMENT, OptimisationInverter, load_inverter


class RefinedInverter:
    """Another inverter's code, then steps of optimisation from it.

    A face whose picture did not come nearer to the photo keeps the code it started from: a few
    steps can lead away from a code that was very near.
    """

    name = "refined"

    def __init__(self, first: Inverter, optimiser: OptimisationInverter) -> None:
        self.first, self.optimiser = first, optimiser
        self.batch = optimiser.batch
        both = f"{first.fingerprint}/{optimiser.fingerprint}/nearer"
        steps = optimiser.config.steps
        self.fingerprint = f"{self.name}{steps}-{text_digest(both)}"

    def invert(self, images: torch.Tensor, *, progress: Progress | None = None) -> Inversion:
        """See `ris.ingest.inversion.contract.Inverter`."""
        start = self.first.invert(images).w
        done = self.optimiser.invert(images, start=start, progress=progress)
        assert done.error is not None
        device = self.optimiser.generator.device
        before = self.optimiser.error(start.to(device), images.to(device)).cpu()
        nearer = done.error < before
        w = torch.where(nearer[:, None, None], done.w, start.cpu())
        return Inversion(w, torch.where(nearer, done.error, before), done.steps)


def options_of(fingerprint: str) -> tuple[InverterName, int | None]:
    """The options of `make_inverter` behind an inverter's fingerprint; the default ones if it is
    no inverter of this program."""
    name, _, _ = fingerprint.partition("-")
    kind = name.rstrip("0123456789")
    steps = int(name[len(kind) :]) if name != kind else None
    if kind == OptimisationInverter.name:
        return "optimisation", steps
    return "encoder", steps if kind == RefinedInverter.name else None


def make_inverter(
    generator: Generator,
    kind: InverterName = "encoder",
    refine: int | None = None,
    file: Path | None = None,
) -> Inverter:
    """The inverter that a user chose.

    Args:
        generator: whose codes are wanted.
        kind: where the code comes from.
        refine: steps of optimisation after it; None: none for the encoder, the default number
            for optimisation.
        file: a pSp or e4e checkpoint, whose encoder is used instead.

    Raises:
        InputError: a negative number of steps, or an encoder for another generator.
        ModelFileError: a model is missing or damaged.
    """
    if refine is not None and refine < 0:
        raise InputError(f"`refine` takes 0 or more steps, not {refine}")
    if file is not None:
        if refine:
            raise InputError("`refine` goes with the shipped generator's encoder")
        return load_checkpoint_inverter(generator, file)
    if kind == "optimisation":
        return load_inverter(generator, steps=refine)
    encoder = load_encoder_inverter(generator)
    if not refine:
        return encoder
    return RefinedInverter(encoder, load_inverter(generator, steps=refine, config=REFINEMENT))
