"""Speed and likeness of the inverter on a folder of aligned photos.

    python benchmarks/inversion.py photos/ --n 12 --out out/inversion.jpg

Writes a sheet (photos above, full renders of their codes below) and prints, face by face,
seconds, the inverter's error, the PSNR of the full render at 128 px and its feature distance.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data.assets import load_generator
from ingest.inversion import OptimisationInverter, load_inverter, resize

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
TILE = 256
COLUMNS = 6


def read(path: Path) -> torch.Tensor:
    """(1, 3, S, S) in [-1, 1]; a picture that is not square is cut to its middle."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    pixels = np.asarray(picture.crop((left, top, left + side, top + side)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()[None] / 127.5 - 1


def tile(image: torch.Tensor) -> np.ndarray:
    """(1, 3, S, S) -> (TILE, TILE, 3) uint8."""
    small = resize(image.clamp(-1, 1), TILE)[0].permute(1, 2, 0)
    return ((small + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


@torch.no_grad()
def compare(
    inverter: OptimisationInverter, render: torch.Tensor, photo: torch.Tensor
) -> list[float]:
    """PSNR (dB, range 2) and feature distance at the inverter's size."""
    a, b = resize(render, inverter.input_size), resize(photo, inverter.input_size)
    psnr = 10 * torch.log10(4 / (a - b).square().mean())
    return [psnr.item(), inverter.distance(a, b).item()]


def main() -> None:
    """Inverts and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of aligned face photos")
    parser.add_argument("--n", type=int, default=12, help="photos, spread over the folder")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--out", type=Path, default=Path("out/inversion.jpg"))
    args = parser.parse_args()
    paths = sorted(p for p in args.photos.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        parser.error(f"no photos in {args.photos}")
    paths = paths[:: max(len(paths) // args.n, 1)][: args.n]
    generator = load_generator()
    inverter = load_inverter(generator, steps=args.steps)
    print(
        f"{inverter.fingerprint}, {inverter.config.steps} steps, {torch.get_num_threads()} threads"
    )
    load_inverter(generator, steps=2).invert(read(paths[0]))  # the first steps allocate
    pairs, numbers = [], []
    for path in paths:
        photo = read(path)
        begin = time.perf_counter()
        inversion = inverter.invert(photo)
        seconds = time.perf_counter() - begin
        with torch.no_grad():
            render = generator.render(generator.sigma(inversion.w)).clamp(-1, 1)
        row = [seconds, inversion.error.item(), *compare(inverter, render, photo)]
        print(f"{path.name}: " + " ".join(f"{x:.3f}" for x in row), flush=True)
        numbers.append(row)
        pairs.append(np.concatenate([tile(photo), tile(render)]))
    names = ("seconds", "error", "PSNR at 128 px", "feature distance of the render")
    for name, values in zip(names, np.array(numbers).T, strict=True):
        print(f"{name}: mean {values.mean():.3f}, median {np.median(values):.3f}")
    while len(pairs) % COLUMNS and len(pairs) > COLUMNS:
        pairs.append(np.full_like(pairs[0], 255))
    lines = [np.concatenate(pairs[i : i + COLUMNS], 1) for i in range(0, len(pairs), COLUMNS)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(lines)).save(args.out, quality=92)
    print(args.out)


if __name__ == "__main__":
    main()
