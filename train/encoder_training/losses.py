"""What the encoder is trained to bring down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ris.generators import Generator
from ris.generators.pspace import PSpace
from ris.generators.readout import ReadOut
from ris.ingest.inversion.contract import resize
from ris.ingest.inversion.optimisation import face_window
from ris.networks import EfficientNetLiteTrunk
from ris.networks.faceres import FaceRes, central_crop
from train.encoder_training.probe import BLOCKS, LandmarkProbe

STATISTICS_FACES = 2000  # codes behind the scale of each style layer
ZOOM = (0.22, 0.34, 0.78, 0.90)
"""Left, top, right, bottom of the part of an FFHQ crop that holds eyes, nose and mouth."""


class CodeLoss:
    """Distance of a predicted code to the one that a picture was made from.

    The mean of two: in P space, where every direction counts by its variance, and in the style
    coefficients that retrieval uses, where every style layer counts the same. Both are shares of
    what a constant guess would leave, so 1 is no better than the mean face.
    """

    def __init__(self, generator: Generator, pspace: PSpace) -> None:
        self.generator, self.pspace = generator, pspace
        layout = generator.layout
        with torch.no_grad():
            rng = torch.Generator().manual_seed(0)
            z = torch.randn(STATISTICS_FACES, generator.latent_size, generator=rng)
            sigma = generator.sigma(generator.mapping(z.to(generator.device)))
            scales = [
                sigma[:, s].var(0).mean().sqrt().expand(s.stop - s.start) for s in layout.slices
            ]
        self._scale = torch.cat(scales)
        self._variance = pspace.root.square().sum() / len(pspace.mean)

    def __call__(
        self, v: torch.Tensor, d: torch.Tensor, w: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """v (B, D), d (B, L, D), true W+ (B, L, D) -> shares in P space and in sigma, scalars."""
        found = v[:, None] + d
        off = (found - self.pspace.from_w(w)) @ self.pspace.root
        layers = self.generator.layout.slices
        sigma = self.generator.sigma(self.pspace.to_w(found)) - self.generator.sigma(w)
        squares = (sigma / self._scale).square()
        per_layer = torch.stack([squares[:, s].mean() for s in layers])
        return off.square().mean() / self._variance, per_layer.mean()


@dataclass(frozen=True)
class PhotoLossConfig:
    """Weights of the terms; see `PhotoLoss`."""

    blocks: tuple[int, ...] = (2, 4, 10, 15)
    features: float = 1.0
    zoomed: float = 1.0
    pixels: float = 8.0
    identity: float = 3.0
    landmarks: float = 1500.0
    code_prior: float = 0.02
    deviation_prior: float = 12.0
    face_weight: float = 3.0


class PhotoLoss:
    """How unlike a photo the picture of a code is.

    Features of an ImageNet network on the whole picture and on a zoom to the inner face, pixels,
    an identity embedding, landmarks, and priors that hold the code near W.
    """

    def __init__(
        self,
        readouts: Mapping[int, ReadOut],
        pspace: PSpace,
        backbone: EfficientNetLiteTrunk,
        std: Mapping[int, torch.Tensor],
        identity: FaceRes,
        probe: LandmarkProbe,
        config: PhotoLossConfig | None = None,
    ) -> None:
        self.config = config or PhotoLossConfig()
        self.readouts, self.pspace, self.backbone = readouts, pspace, backbone
        self.identity, self.probe = identity, probe
        self._std = {b: s[None, :, None, None] for b, s in std.items()}
        self.window = face_window(128, self.config.face_weight).to(pspace.mean.device)

    def _features(self, images: torch.Tensor) -> dict[int, torch.Tensor]:
        blocks = self.config.blocks
        return dict(zip(blocks, self.backbone.features(images, blocks), strict=True))

    def _embedding(self, images: torch.Tensor) -> torch.Tensor:
        crops = central_crop(images).contiguous(memory_format=torch.channels_last)
        found: torch.Tensor = self.identity(crops)
        return found

    def _distance(
        self, a: dict[int, torch.Tensor], b: dict[int, torch.Tensor], window: torch.Tensor | None
    ) -> torch.Tensor:
        total = torch.zeros((), device=next(iter(a.values())).device)
        for block, std in self._std.items():
            off = ((a[block] - b[block]) / std).square()
            if window is not None:
                off = off * F.adaptive_avg_pool2d(window, off.shape[-1])
            total = total + off.mean()
        return total

    def __call__(
        self,
        v: torch.Tensor,
        d: torch.Tensor,
        photos: torch.Tensor,
        landmarks: torch.Tensor,
        resolution: int,
    ) -> dict[str, torch.Tensor]:
        """Terms by name, weighted; their sum is the loss.

        Args:
            v: (B, D) shared codes.
            d: (B, L, D) deviations.
            photos: (B, 3, 128, 128) in [-1, 1].
            landmarks: (B, N, 2) of the photos, parts of the side.
            resolution: of the read-out to use.
        """
        cfg = self.config
        readout = self.readouts[resolution]
        sigma = readout.generator.sigma(self.pspace.to_w(v[:, None] + d))
        small = readout(sigma).clamp(-1.5, 1.5)
        picture = (
            small
            if resolution == 128
            else F.interpolate(small, 128, mode="bilinear", align_corners=False)
        )
        seen = photos
        if resolution != 128:  # what the small picture cannot show should not count
            seen = F.interpolate(
                resize(photos, resolution), 128, mode="bilinear", align_corners=False
            )
        channels_last = torch.channels_last
        picture = picture.contiguous(memory_format=channels_last)
        found = self._features(picture)
        with torch.no_grad():
            wanted = self._features(seen.contiguous(memory_format=channels_last))
        terms = {"features": cfg.features * self._distance(found, wanted, self.window)}
        if resolution == 128 and cfg.zoomed:
            left, top, right, bottom = (round(x * 128) for x in ZOOM)

            def zoom(x: torch.Tensor) -> torch.Tensor:
                part = x[:, :, top:bottom, left:right]
                return F.interpolate(part, 128, mode="bilinear", align_corners=False).contiguous(
                    memory_format=channels_last
                )

            with torch.no_grad():
                close = self._features(zoom(seen))
            terms["zoomed"] = cfg.zoomed * self._distance(
                self._features(zoom(picture)), close, None
            )
        terms["pixels"] = cfg.pixels * ((picture - seen).square() * self.window).mean()
        with torch.no_grad():
            person = self._embedding(photos)
        alike = F.cosine_similarity(self._embedding(picture), person)
        terms["identity"] = cfg.identity * (1 - alike).mean()
        marks = self.probe([found[b] for b in BLOCKS])
        terms["landmarks"] = cfg.landmarks * (marks - landmarks).square().sum(2).mean()
        terms["code"] = cfg.code_prior * v.square().mean()
        terms["deviation"] = cfg.deviation_prior * d.square().mean()
        return terms
