"""From latent codes to what a row stores: style coefficients and contribution scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ris.choices import MAX_RESOLUTION, Engine
from ris.data.manifest import StoreSettings
from ris.errors import InputError
from ris.generators.generator import Generator
from ris.method.catalogue import FeatureCatalogue
from ris.method.contribution import contribution_scores
from ris.ops.calls import Impl
from ris.ops.native import problem


@dataclass(frozen=True)
class Embedded:
    """A face as the method sees it: W+ code (L, 512), sigma (C,), scores (K, C') float32."""

    w: torch.Tensor
    sigma: torch.Tensor
    scores: torch.Tensor


@dataclass(frozen=True)
class Embedder:
    """Codes to style coefficients and contribution scores, under one set of options.

    Attributes:
        generator: the face generator.
        catalogue: its feature catalogue.
        max_resolution: widest activation in the scores; None for all.
        instance_norm: see `ris.method.contribution.class_energy`.
        engine: see `ris.choices.Engine`. A generator on a GPU is run by torch.
    """

    generator: Generator
    catalogue: FeatureCatalogue
    max_resolution: int | None = MAX_RESOLUTION
    instance_norm: bool = True
    engine: Engine = "auto"

    @property
    def engine_used(self) -> Engine:
        """``native`` or ``torch``.

        Raises:
            InputError: the engine that was named cannot run here.
        """
        if self.engine == "torch":
            return "torch"
        on_gpu = self.generator.device.type != "cpu"
        reason = "it runs on the processor, the generator is on a GPU" if on_gpu else problem()
        if reason is None:
            return "native"
        if self.engine == "native":
            raise InputError(
                f"the native engine cannot run: {reason}",
                "install a C++ compiler (as g++) and ninja, or take `engine='torch'`",
            )
        return "torch"

    def settings(self) -> StoreSettings:
        """What a store of these embeddings records."""
        layout = self.generator.layout
        _ = self.engine_used  # an engine that cannot run is told before anything is done
        try:
            layout.up_to(self.max_resolution)
        except ValueError as e:
            raise InputError(f"`max_resolution` {self.max_resolution}: {e}") from e
        return StoreSettings(
            generator=self.generator.fingerprint,
            generator_name=self.generator.name,
            catalogue=self.catalogue.fingerprint,
            classes=tuple(self.catalogue.classes),
            layers=layout.layers,
            max_resolution=self.max_resolution,
            instance_norm=self.instance_norm,
            latent_rows=layout.rows,
            latent_size=self.generator.latent_size,
        )

    def embed(self, w: torch.Tensor) -> Embedded:
        """One (512,) or (L, 512) code; threads may call this at once.

        On a CPU this is as fast as a batch, and the result cannot depend on which faces happen to
        share it.
        """
        return self.embed_all([w])[0]

    @torch.no_grad()
    def embed_all(self, codes: Sequence[torch.Tensor]) -> list[Embedded]:
        """Codes like `embed`'s in one pass, which is what a GPU wants; memory grows with them."""
        layout = self.generator.layout
        for w in codes:
            if w.ndim == 2 and len(w) != layout.rows:
                raise InputError(f"a W+ code has {len(w)} rows, this generator takes {layout.rows}")
        code = torch.stack([w.expand(layout.rows, -1) for w in codes]).to(self.generator.device)
        sigma = self.generator.sigma(code)
        impl: Impl = "reference" if self.engine == "torch" else "auto"
        scores = contribution_scores(
            self.generator.using(impl),
            self.catalogue,
            sigma,
            normalise=self.instance_norm,
            max_resolution=self.max_resolution,
            impl=impl,
        )
        parts = (part.cpu() for part in (code, sigma, scores))
        return [Embedded(*face) for face in zip(*parts, strict=True)]
