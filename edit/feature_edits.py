"""Which features go where, how far: edits of style coefficients (section 3.3 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ris.edit.subjects import Subject
from ris.errors import InputError
from ris.method.eis import EisOptions, eis_mask
from ris.method.features import TRANSFER_MASK
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions, class_row
from ris.method.transfer import ALPHA, Rule, direction, move, pair_mask


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
        layout: style layout of the channels that scores cover.
        classes: class names of the scores.
        options: how transfers are made.
    """

    layout: StyleLayout
    classes: tuple[str, ...]
    options: TransferOptions = field(default_factory=TransferOptions)

    def mask(self, source: Subject, reference: Subject, feature: str) -> torch.Tensor:
        """(C',) what is taken of the reference.

        Raises:
            InputError: unknown feature.
        """
        try:
            class_row(self.classes, feature)
        except ValueError as e:
            raise InputError(str(e)) from e
        if self.options.average is not None:
            return eis_mask(
                self.options.average, self.layout, self.classes, feature, self.options.eis
            )
        pair = source.scores[None], reference.scores[None]
        return pair_mask(*pair, self.layout, self.classes, feature, self.options.mask)[0]

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
            raise InputError("alpha is a number")
        towards = self.direction(source, reference, features)
        return move(source.sigma[None], towards[None], steps)[0]
