"""What the options of the method itself change: masks, temperature, normalisation, channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from ris.choices import MaskMode, NormMode
from ris.evaluate.ams import AmsResult
from ris.evaluate.markdown import markdown_table
from ris.evaluate.representations import FEATURES, MaskedStyle, Representation, Rows
from ris.evaluate.retrieval import Collection
from ris.evaluate.trsi import TrsiResult
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions
from ris.method.normaliser import NORM_MODES, Normaliser
from ris.method.representation import DEFAULT_MASK, DEFAULT_NORM

KINDS: tuple[MaskMode, ...] = get_args(MaskMode)


@dataclass(frozen=True)
class Prefix:
    """A representation that sees the channels up to a resolution alone.

    Attributes:
        masked: of the shorter layout.
        name: what tables call it.
    """

    masked: MaskedStyle
    by_feature: bool = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.masked.name

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `ris.evaluate.representations.Representation.vectors`."""
        c = self.masked.layout.channels
        return self.masked.vectors(rows._replace(scores=rows.scores[:, :, :c]), feature)


def variants(collection: Collection) -> list[Representation]:
    """The default, first, and what differs from it: kinds of mask under every normalisation, and
    one option at a time."""
    norms = {mode: collection.normaliser(mode) for mode in NORM_MODES}
    found: list[Representation] = []

    def add(name: str, options: MaskOptions, mode: NormMode = DEFAULT_NORM) -> None:
        found.append(collection.masked(name, options, norms[mode]))

    for mode in (DEFAULT_NORM, *(m for m in NORM_MODES if m != DEFAULT_NORM)):
        for kind in KINDS:
            add(f"{kind}, norm {mode}", replace(DEFAULT_MASK, kind=kind), mode)
    for tau in (0.03, 0.05, 0.1, 0.2):
        add(f"soft, tau {tau:g}", replace(DEFAULT_MASK, tau=tau))
    for threshold in (0.5, 0.9):
        add(f"hard, threshold {threshold:g}", MaskOptions(kind="hard", threshold=threshold))
    for rho in (0.3, 0.5):
        add(f"score, rho {rho:g}", MaskOptions(kind="score", rho=rho))
    if collection.layout.to_image.any():
        add("soft, with to-image channels", replace(DEFAULT_MASK, to_image=True))
    for width in resolutions(collection.layout)[2:-1]:
        found.append(shortened(collection, width, DEFAULT_MASK, norms[DEFAULT_NORM]))
    return found


def resolutions(layout: StyleLayout) -> list[int]:
    """Widths of the layout's activations, in order."""
    return sorted({layer.resolution for layer in layout})


def shortened(
    collection: Collection, width: int, options: MaskOptions, normaliser: Normaliser
) -> Prefix:
    """Activations up to `width` pixels alone; every channel that stays keeps its mask."""
    layout = collection.layout.up_to(width)
    cut = replace(
        normaliser,
        mean=normaliser.mean[: layout.channels],
        scale=normaliser.scale[: layout.channels],
    )
    name = f"{options.kind}, activations up to {width} px"
    return Prefix(MaskedStyle(name, layout, collection.classes, options, cut))


@dataclass(frozen=True)
class AblationResult:
    """Both measures of the same variants."""

    trsi: TrsiResult
    ams: AmsResult

    def to_dict(self) -> dict[str, Any]:
        """Numbers by variant."""
        variants = {
            name: {
                "trsi_iou": self.trsi.mean(name),
                "ams_corrected": dict(zip(FEATURES, self._corrected(name), strict=True)),
            }
            for name in self.ams.names
        }
        return {
            "k": self.ams.k,
            "queries": self.ams.queries,
            "faces": self.ams.faces,
            "variants": variants,
        }

    def found(self, name: str) -> float:
        """Mean over the features of a variant's chance-corrected AMS."""
        scores = self._corrected(name)
        return sum(scores) / len(scores)

    def _corrected(self, name: str) -> Sequence[float]:
        return [self.ams.matches[name, f, "mean"].corrected for f in FEATURES]

    def table(self) -> str:
        """A Markdown table: TRSI-IoU, chance-corrected AMS by feature and their mean."""
        rows = []
        for name in self.ams.names:
            scores = self._corrected(name)
            cells = [f"{x:.3f}" for x in (*scores, self.found(name))]
            rows.append([name, f"{self.trsi.mean(name):.3f}", *cells])
        title = (
            f"TRSI-IoU@{self.ams.k} (lower is better) and chance-corrected AMS@{self.ams.k}; "
            f"{self.ams.queries} queries in {self.ams.faces} faces"
        )
        return markdown_table(["variant", "TRSI-IoU", *FEATURES, "mean"], rows, title=title)
