"""Fits what the inverter ships with: whitening, read-out, feature scales and first guess.

    python train/fit_inversion_assets.py --faces 3000 --cache out/inversion

Renders that many generated faces once (1 s each on two cores; kept in --cache, so that an
interrupted run resumes) and writes data/models/assets/inversion-<generator>.safetensors.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ris.data.models.asset_files import asset_path
from ris.data.models.feature_networks import load_efficientnet
from ris.data.models.shipped import load_generator
from ris.generators.mobilestylegan import MobileStyleGAN
from ris.generators.pspace import PSpace, fit_pspace
from ris.generators.readout import ReadOut, fit_readout
from ris.images import from_bytes, to_bytes
from ris.ingest.inversion.contract import resize
from ris.ingest.inversion.optimisation import OptimisationConfig, guess_features

CHUNK = 100  # faces in one cached file
SEED = 1000  # of the first chunk; the tests' faces come from other seeds
STORED = 256  # pixels of a cached render
READOUT_FACES = 40  # 8 MB of activations each; enough for a few thousand values
HELD_OUT = 20  # faces for the numbers printed at the end
SCALE_FACES = 200
RIDGE = 1.0  # times the mean square of a feature vector, which is 1
RANK = 96  # of the first guess; 64 to 512 give the same error within 1%


def renders(
    generator: MobileStyleGAN, faces: int, cache: Path
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields chunks of W codes (N, 512) and renders (N, 3, 256, 256) uint8."""
    cache.mkdir(parents=True, exist_ok=True)
    for first in range(0, faces, CHUNK):
        path = cache / f"faces-{first:05d}.safetensors"
        if not path.is_file():
            rng = torch.Generator().manual_seed(SEED + first)
            w = generator.mapping(torch.randn(CHUNK, generator.latent_size, generator=rng))
            images = []
            for code in w:
                image = generator.render(generator.sigma(code[None])).clamp(-1, 1)
                small = F.avg_pool2d(image, generator.image_size // STORED)
                images.append(to_bytes(small))
            partial = path.with_suffix(".partial")
            save_file({"w": w, "images": torch.cat(images)}, partial)
            partial.replace(path)
            print(f"rendered {first + CHUNK} faces", flush=True)
        chunk = load_file(path)
        yield chunk["w"], chunk["images"]


def to_float(images: torch.Tensor, size: int) -> torch.Tensor:
    """(N, 3, S, S) uint8 -> (N, 3, size, size) in [-1, 1]."""
    return resize(from_bytes(images), size)


def fit_guess(features: torch.Tensor, v: torch.Tensor, pspace: PSpace) -> dict[str, torch.Tensor]:
    """Ridge regression of v from features in the dual form, cut to `RANK` dimensions.

    The cut keeps the directions of largest variance in P space itself, not in the whitened one,
    because the whitened one counts directions that change no pixel as much as the others.
    """
    mean, std = features.mean(0), features.std(0) + 1e-3
    x = (features - mean) / std / math.sqrt(features.shape[1])
    kernel = (x @ x.T).double() + RIDGE * torch.eye(len(x), dtype=torch.float64)
    weights = x.T @ torch.linalg.solve(kernel, v.double()).float()  # [D, 512]
    _, _, axes = torch.linalg.svd(x @ weights @ pspace.root, full_matrices=False)
    axes = axes[:RANK]
    return {
        "mean": mean,
        "std": std * math.sqrt(features.shape[1]),
        "down": weights @ pspace.root @ axes.T,
        "up": axes @ pspace.inverse_root,
    }


def decibels(readout: ReadOut, faces: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Mean PSNR of the read-out against renders, range 2."""
    found = [
        10 * math.log10(4 / (readout(readout.generator.sigma(w)) - y).square().mean().item())
        for w, y in faces
    ]
    return sum(found) / len(found)


def main() -> None:
    """Fits and writes the asset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=3000)
    parser.add_argument("--cache", type=Path, default=Path("out/inversion"))
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    if args.faces < 2 * CHUNK:
        parser.error(f"--faces must be {2 * CHUNK} or more")
    generator = load_generator()
    assert isinstance(generator, MobileStyleGAN)
    backbone = load_efficientnet()
    config = OptimisationConfig()
    size = config.resolution

    pspace = fit_pspace(generator)
    codes, features = [], []
    sums: dict[int, tuple[int, torch.Tensor, torch.Tensor]] = {}
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    counted = 0
    with torch.no_grad():
        for w, images in renders(generator, args.faces, args.cache):
            codes.append(w)
            for start in range(0, len(w), 10):
                x = to_float(images[start : start + 10], size)
                features.append(guess_features(backbone, x))
                room = READOUT_FACES + HELD_OUT - len(pairs)
                pairs += [(w[start + i][None], x[i][None]) for i in range(min(room, len(x)))]
                if counted < SCALE_FACES:
                    counted += len(x)
                    for b, f in zip(
                        config.blocks, backbone.features(x, config.blocks), strict=True
                    ):
                        n, total, square = sums.get(b, (0, 0.0, 0.0))
                        flat = f.transpose(0, 1).flatten(1).double()
                        sums[b] = (
                            n + flat.shape[1],
                            total + flat.sum(1),
                            square + flat.square().sum(1),
                        )
    readout = fit_readout(generator, size, pairs[:READOUT_FACES])
    v, x = pspace.from_w(torch.cat(codes)), torch.cat(features)
    test = max(len(v) // 15, 1)
    guess = fit_guess(x[:-test], v[:-test], pspace)
    with torch.no_grad():
        before = decibels(ReadOut(generator, size), pairs[READOUT_FACES:])
        after = decibels(readout, pairs[READOUT_FACES:])
        found = (x[-test:] - guess["mean"]) / guess["std"] @ guess["down"] @ guess["up"]
        unexplained = ((found - v[-test:]) @ pspace.root).square().sum() / (
            v[-test:] @ pspace.root
        ).square().sum()
    print(f"read-out at {size} px: {before:.1f} dB unfitted, {after:.1f} dB fitted")
    print(f"first guess: {unexplained:.3f} of P space's variance is left on held-out faces")

    tensors = {"pspace.mean": pspace.mean, "pspace.root": pspace.root.half()}
    tensors |= {f"readout.{k}": t for k, t in readout.tensors.items()}
    tensors |= {f"guess.{k}": t.half() for k, t in guess.items()}
    for b, (n, total, square) in sums.items():
        tensors[f"features.{b}.std"] = (square / n - (total / n).square()).sqrt().float()
    out = args.out or asset_path(f"inversion-{generator.name}.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"generator": generator.fingerprint, "backbone": backbone.fingerprint}
    save_file({k: t.contiguous() for k, t in tensors.items()}, out, metadata=metadata)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
