"""Real photos to latents: optimisation of a code near W, started from a linear first guess.

The code of a face is one whitened P-space vector v (512,) shared by all rows of W+, plus a small
deviation d (L, 512) of its own for each row: W+ = to_w(v + d) (`ris.generators.pspace`). Both
minimise

    sum_b weight_b |(phi_b(G(v, d)) - phi_b(x)) / std_b|^2  +  a |G(v, d) - x|^2
        + lambda_v |v|^2  +  lambda_d |d|^2                                    (all are means)

by Adam, where G is the small picture of `ris.generators.readout`, phi_b the output of block b of an
ImageNet backbone, std_b its standard deviation over generated faces, channel by channel. Codes far
from W smear on a distilled generator, so the priors are what keeps the full render clean.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ris.errors import InputError, MismatchError, ModelFileError
from ris.fingerprints import tensor_digest
from ris.generators import Generator
from ris.generators.mobilestylegan import MobileStyleGAN
from ris.generators.pspace import PSpace
from ris.generators.readout import ReadOut
from ris.ingest.inversion.contract import Inversion, Progress, check_photos, resize
from ris.ingest.threads import StepCounter, by_groups
from ris.networks import EfficientNetLite
from ris.precision import fast_dtype

GUESS_BLOCKS = (4, 10, 15)
"""Blocks whose pooled outputs give the first guess; see `guess_features`."""


@dataclass(frozen=True)
class OptimisationConfig:
    """What `OptimisationInverter` does; chosen on aligned photos, see docs/lab/inversion.md."""

    steps: int = 60  # 25 s of one core: a face may take 30 s
    rate: float = 0.05  # of Adam, in standard deviations of the code; 0.12 lost the guess's hair
    deviation_rate: float = 0.3  # relative: rows should follow the shared code, not replace it
    frozen: float = 0.2  # part of the steps before rows may deviate, so that v explains first
    warmup: int = 0  # steps over which the rate rises
    betas: tuple[float, float] = (0.9, 0.95)  # of Adam
    blocks: tuple[int, ...] = (2, 4, 10, 15)  # edges at 32x32 px up to parts of a face at 4x4
    block_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    pixel_weight: float = 8.0  # of the mean square error: colours, which features see badly
    code_prior: float = 0.05  # of the mean square of v
    deviation_prior: float = 44.0  # of the mean square of d; 3.3 at rate 0.12 smeared hair
    face_weight: float = 3.0  # of a pixel inside the face's ellipse to one outside
    resolution: int = 128  # of the read-out and of the backbone's input


REFINEMENT = OptimisationConfig(
    rate=0.05,
    deviation_rate=1.2,
    deviation_prior=18.0,
    frozen=0.0,
    warmup=4,
    betas=(0.7, 0.9),
)
"""From an encoder's code, which is near already. Adam's first steps go equally far along all
coordinates, which leads away from a good code, so the rate rises slowly; with little momentum
thirty steps come as near as a hundred and twenty from the mean (docs/lab/inversion.md)."""


class FirstGuess:
    """A linear map from backbone features to the whitened code (reduced-rank ridge regression).

    Args:
        tensors: ``mean`` (D,), ``std`` (D,), ``down`` (D, R), ``up`` (R, 512).
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.mean, self.std, self.down, self.up = (
            tensors[name].float() for name in ("mean", "std", "down", "up")
        )

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) features -> (B, 512) whitened code."""
        return (features - self.mean) / self.std @ self.down @ self.up


def guess_features(backbone: EfficientNetLite, images: torch.Tensor) -> torch.Tensor:
    """(B, 3, 128, 128) -> (B, 8320): blocks 4 and 10 pooled to 4x4, block 15 and 16x16 pixels."""
    low, middle, high = backbone.features(images, GUESS_BLOCKS)
    parts = (
        F.adaptive_avg_pool2d(low, 4),
        F.adaptive_avg_pool2d(middle, 4),
        F.adaptive_avg_pool2d(high, 4),
        F.adaptive_avg_pool2d(images, 16),
    )
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def face_window(size: int, face_weight: float) -> torch.Tensor:
    """(1, 1, size, size) weights of mean 1, higher inside FFHQ's usual face ellipse."""
    ys, xs = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    radius = (((xs - 0.5) / 0.30).square() + ((ys - 0.56) / 0.34).square()).sqrt()
    window = 1 + (face_weight - 1) * torch.sigmoid((1 - radius) * 8)
    return (window / window.mean())[None, None]


class OptimisationInverter:
    """The default inverter: see the module's text.

    On a CPU every face is optimised alone on one thread, as many at once as torch has. Threads
    that share one face wait for each other at every layer (ruinous on a busy machine), and sums
    in another order lead the descent elsewhere: so a face's code depends neither on the faces
    beside it nor on the number of threads.

    Args:
        generator: the MobileStyleGAN to invert.
        backbone: EfficientNet-Lite0.
        tensors: fitted values: ``pspace.mean``, ``pspace.root``, ``readout.*`` (`ReadOut`),
            ``guess.*`` (`FirstGuess`) and ``features.{block}.std`` (C,).
        config: steps, rates and priors.
        dtype: of the read-out's activations; None: whatever is fast here (`fast_dtype`).
            bfloat16 changes a gradient's direction by less than a degree.

    Raises:
        ModelFileError: a tensor is missing or of another shape.
        InputError: a config that cannot be used.
    """

    name = "optimisation"

    def __init__(
        self,
        generator: MobileStyleGAN,
        backbone: EfficientNetLite,
        tensors: Mapping[str, torch.Tensor],
        config: OptimisationConfig | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.config = config or OptimisationConfig()
        if self.config.steps < 0:
            raise InputError(f"an inversion takes 0 or more steps, not {self.config.steps}")
        if len(self.config.blocks) != len(self.config.block_weights):
            raise InputError("an inversion needs one weight for each backbone block")
        device = generator.device
        self.dtype = dtype or fast_dtype(device)
        self.generator = generator
        self.backbone = backbone.to(device)
        self.input_size = self.config.resolution
        self.batch = max(torch.get_num_threads(), 4)
        try:
            self.pspace = PSpace(tensors["pspace.mean"], tensors["pspace.root"]).to(device)
            drawn = generator if self.dtype == torch.float32 else generator.cast(self.dtype)
            self.readout = ReadOut(drawn, self.config.resolution, _within(tensors, "readout."))
            self.guess = FirstGuess(
                {k: t.to(device) for k, t in _within(tensors, "guess.").items()}
            )
            self._std = [
                tensors[f"features.{b}.std"].to(device, torch.float32)[None, :, None, None]
                for b in self.config.blocks
            ]
        except (KeyError, ValueError) as e:
            raise ModelFileError(f"the inversion asset does not fit: {e}") from e
        window = face_window(self.input_size, self.config.face_weight).to(device)
        self._window = window
        sizes = [f.shape[-1] for f in self._features(torch.zeros_like(window).repeat(1, 3, 1, 1))]
        self._feature_windows = [F.adaptive_avg_pool2d(window, size) for size in sizes]
        self.fingerprint = self._fingerprint(tensors)

    def _fingerprint(self, tensors: Mapping[str, torch.Tensor]) -> str:
        parts = [self.generator.fingerprint, self.backbone.fingerprint]
        before = "/".join(parts) + repr(dataclasses.astuple(self.config))
        return f"{self.name}{self.config.steps}-{tensor_digest(tensors, before=before.encode())}"

    def feature_stds(self) -> list[torch.Tensor]:
        """(C,) standard deviation of each channel over generated faces, for each block."""
        return [std.flatten() for std in self._std]

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = self.backbone.features(images, self.config.blocks)
        return [f / std for f, std in zip(found, self._std, strict=True)]

    def _distances(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> list[torch.Tensor]:
        """One (B,) distance a block."""
        return [
            ((x - y).square() * window).mean((1, 2, 3))
            for x, y, window in zip(a, b, self._feature_windows, strict=True)
        ]

    def picture(self, w: torch.Tensor) -> torch.Tensor:
        """(B, L, 512) W+ -> (B, 3, 128, 128), what the losses see of a code."""
        return self.readout(self.generator.sigma(w))

    @torch.no_grad()
    def distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """(B,) feature distance of two batches of (B, 3, R, R) pictures, R = `input_size`."""
        return torch.stack(self._distances(self._features(a), self._features(b))).mean(0)

    @torch.no_grad()
    def error(self, w: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """(B,) feature distance of codes to photos, as in `Inversion.error`."""
        return self.distance(self.picture(w), resize(images, self.input_size))

    def invert(
        self,
        images: torch.Tensor,
        *,
        start: torch.Tensor | None = None,
        progress: Progress | None = None,
    ) -> Inversion:
        """See `Inverter.invert`.

        Args:
            images: cropped as FFHQ's are, any S.
            start: (B, 512) or (B, L, 512) codes to start from; None: a first guess.
            progress: called with steps done and steps in all.

        Raises:
            InputError: images or starting codes are not of the shapes above.
        """
        check_photos(images)
        rows, width = self.generator.layout.rows, self.generator.latent_size
        if start is not None:
            if start.shape not in ((len(images), width), (len(images), rows, width)):
                raise InputError(
                    f"starting codes are ({len(images)}, {width}) or ({len(images)}, {rows}, "
                    f"{width}), not {tuple(start.shape)}"
                )
            if start.ndim == 2:
                start = start[:, None].expand(-1, rows, -1)
        if not len(images):
            return Inversion(torch.zeros(0, rows, width), torch.zeros(0), self.config.steps)
        device = self.generator.device
        counter = StepCounter(self.config.steps * len(images), progress)

        def work(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
            target = resize(images[part].to(device, torch.float32), self.input_size)
            first = None if start is None else start[part].to(device)
            w = self._descend(target, first, counter)
            return w.cpu(), self.error(w, target).cpu()

        found = by_groups(work, len(images), device, counter)
        codes, errors = zip(*found, strict=True)
        return Inversion(torch.cat(codes), torch.cat(errors), self.config.steps)

    def _first(
        self, target: torch.Tensor, start: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Shared codes (B, 512) and deviations (B, L, 512) to start from."""
        if start is None:
            v = self.guess(guess_features(self.backbone, target))
            return v, v.new_zeros(len(v), self.generator.layout.rows, v.shape[1])
        rows = self.pspace.from_w(start.float())  # [B, L, 512]
        v = rows.mean(1)
        return v, rows - v[:, None]

    def _descend(
        self, target: torch.Tensor, start: torch.Tensor | None, counter: StepCounter
    ) -> torch.Tensor:
        """(B, 3, R, R) photos -> (B, L, 512) codes. Losses are summed over the faces, so that
        each moves as it would alone."""
        cfg = self.config
        with torch.no_grad():
            v, d = self._first(target, start)
            wanted = self._features(target)
        v, d = v.clone().requires_grad_(), d.clone().requires_grad_()
        optimiser = torch.optim.Adam([{"params": [v]}, {"params": [d]}], betas=cfg.betas)
        for k in range(cfg.steps):
            rate = cfg.rate * (1 + math.cos(math.pi * k / cfg.steps)) / 2
            rate *= min(1.0, (k + 1) / (cfg.warmup + 1))
            free = k >= cfg.frozen * cfg.steps
            optimiser.param_groups[0]["lr"] = rate
            optimiser.param_groups[1]["lr"] = rate * cfg.deviation_rate if free else 0.0
            with torch.enable_grad():
                picture = self.picture(self.pspace.to_w(v[:, None] + d))
                distances = self._distances(self._features(picture), wanted)
                off = (picture - target).square() * self._window
                loss = cfg.pixel_weight * off.mean((1, 2, 3))
                for weight, distance in zip(cfg.block_weights, distances, strict=True):
                    loss = loss + weight * distance
                loss = loss + cfg.code_prior * v.square().mean(1)
                loss = loss + cfg.deviation_prior * d.square().mean((1, 2))
                v.grad, d.grad = torch.autograd.grad(loss.sum(), (v, d))
            optimiser.step()
            counter.step(len(target))
        with torch.no_grad():
            return self.pspace.to_w(v[:, None] + d)


def _within(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def load_inverter(
    generator: Generator, *, steps: int | None = None, config: OptimisationConfig | None = None
) -> OptimisationInverter:
    """Optimisation for a generator; the backbone is pulled on first need.

    Args:
        generator: a MobileStyleGAN.
        steps: optimisation steps; None for the config's, 0 for the first guess alone.
        config: everything else; None for what suits the first guess.

    Raises:
        ModelFileError: no inverter for this generator, or a file is missing or damaged.
        MismatchError: the shipped values were fitted on other weights.
    """
    from ris.data.models.asset_files import asset_path, load_tensors
    from ris.data.models.feature_networks import load_efficientnet

    if not isinstance(generator, MobileStyleGAN):
        raise ModelFileError(
            f"optimisation is fitted to the shipped generator, not to {generator.name}",
            "name a pSp or e4e checkpoint with `inverter`, or codes with `latents`",
        )
    tensors, metadata = load_tensors(asset_path(f"inversion-{generator.name}.safetensors"))
    backbone = load_efficientnet()
    for what, ours in (("generator", generator.fingerprint), ("backbone", backbone.fingerprint)):
        if metadata.get(what) != ours:
            raise MismatchError(
                f"the inverter was fitted on {what} {metadata.get(what)}, not on {ours}",
                "fit it again with train/fit_inversion_assets.py",
            )
    config = config or OptimisationConfig()
    config = config if steps is None else dataclasses.replace(config, steps=steps)
    return OptimisationInverter(generator, backbone, tensors, config)
