"""Which features go where, how far: edits of style coefficients (section 3.3 of the paper), and the
images of what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ris.data.manifest import StoreSettings
from ris.edit.subjects import Subject, edit_embedder
from ris.errors import InputError
from ris.generators.generator import Generator
from ris.ingest.loaded_models import Models
from ris.method.eis import EisOptions, eis_mask
from ris.method.features import TRANSFER_MASK
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions, class_row
from ris.method.transfer import ALPHA, Rule, direction, move, pair_mask
from ris.once import once


@dataclass(frozen=True)
class TransferOptions:
    """How a transfer is made.

    Attributes:
        mask: the method's mask options.
        rule: see `ris.method.transfer`; the rescaled one breaks poses where the reference's
            coefficients are much longer than the source's.
        average: (K, C') averaged scores: the masks are EIS's then; None for the method's.
        eis: options of EIS's mask.
    """

    mask: MaskOptions = TRANSFER_MASK
    rule: Rule = "paper"
    average: torch.Tensor | None = None
    eis: EisOptions = field(default_factory=EisOptions)

    @property
    def method(self) -> str:
        """``RIS`` and the kind of its mask, or ``EIS``."""
        return f"RIS {self.mask.kind}" if self.average is None else "EIS"


@dataclass(frozen=True)
class Editor:
    """Edits faces under one generator and catalogue.

    Attributes:
        models: generator and catalogue.
        options: how transfers are made.
    """

    models: Models
    options: TransferOptions = field(default_factory=TransferOptions)

    @once
    def _settings(self) -> StoreSettings:
        return edit_embedder(self.models).settings()

    @property
    def layout(self) -> StyleLayout:
        """Style layout of the channels that scores cover."""
        return self._settings.covered

    def mask(self, source: Subject, reference: Subject, feature: str) -> torch.Tensor:
        """(C',) what is taken of the reference.

        Raises:
            InputError: unknown feature.
        """
        layout, classes = self.layout, self._settings.classes
        try:
            class_row(classes, feature)
        except ValueError as e:
            raise InputError(str(e)) from e
        if self.options.average is not None:
            return eis_mask(self.options.average, layout, classes, feature, self.options.eis)
        pair = source.scores[None], reference.scores[None]
        return pair_mask(*pair, layout, classes, feature, self.options.mask)[0]

    def direction(
        self, source: Subject, reference: Subject, features: Mapping[str, float]
    ) -> torch.Tensor:
        """(C,) where the features lead, each by its weight; directions add up."""
        total = torch.zeros_like(source.sigma, dtype=torch.float64)
        for feature, weight in features.items():
            mask = self.mask(source, reference, feature)
            pair = source.sigma[None], reference.sigma[None]
            total += weight * direction(*pair, mask[None], self.options.rule)[0]
        return total

    def transfer(
        self,
        source: Subject,
        reference: Subject,
        features: Mapping[str, float],
        alphas: Sequence[float] = (ALPHA,),
    ) -> torch.Tensor:
        """(A, C) style coefficients of the edited face, one row for each alpha (Eq. 6).

        Args:
            source: the face that is edited.
            reference: whose features it gets.
            features: weight of each feature, usually 1.
            alphas: how far to go: 0 stays, 1 arrives.

        Raises:
            InputError: unknown feature, or an alpha that is not finite.
        """
        steps = torch.tensor(alphas, dtype=torch.float64)
        if not len(steps) or not torch.isfinite(steps).all():
            raise InputError("`alpha` is a number")
        towards = self.direction(source, reference, features)
        return move(source.sigma[None], towards[None], steps)[0]

    def edited(
        self,
        source: Subject,
        reference: Subject,
        features: Mapping[str, float],
        alphas: Sequence[float] = (ALPHA,),
    ) -> torch.Tensor:
        """(A, 3, S, S) in [-1, 1]: `transfer`, drawn by the generator."""
        sigma = self.transfer(source, reference, features, alphas)
        return render(self.models.generator, sigma)

    def drawn(self, subject: Subject) -> torch.Tensor:
        """(3, S, S) in [-1, 1]: a face as the generator draws it."""
        return render(self.models.generator, subject.sigma[None])[0]


@torch.no_grad()
def render(generator: Generator, sigma: torch.Tensor) -> torch.Tensor:
    """(N, C) style coefficients -> (N, 3, S, S) in [-1, 1], one face at a time: on a CPU that
    is as fast as a batch, and a face does not depend on its neighbours."""
    rows = (generator.render(row[None].to(generator.device)).float().cpu() for row in sigma)
    return torch.cat([row.clamp(-1, 1) for row in rows])
