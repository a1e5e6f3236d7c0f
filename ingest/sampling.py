"""Faces rendered by the generator, with their latents beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ris.data.durable import disk_error, file_sha256, replacing
from ris.data.latents import SIDECAR, read_latents, write_latents
from ris.errors import InputError, MismatchError
from ris.generators.generator import Generator
from ris.images import to_pixels

TRUNCATION = 0.7
"""Pull towards the mean of W; 1 is none. StyleGAN's usual trade of variety for quality."""
SAVE_EVERY = 25
"""Faces between two writings of the latents, so that a killed run goes on from there."""
NOTE = "synthetic face, rendered by ris sample"


def sample_w(generator: Generator, seed: int, truncation: float = TRUNCATION) -> torch.Tensor:
    """(512,) W code of one seed: w = mean + truncation * (mapping(z) - mean)."""
    z = torch.randn(1, generator.latent_size, generator=torch.Generator().manual_seed(seed))
    mean = generator.mean_w()
    with torch.no_grad():
        w = generator.mapping(z.to(generator.device))[0]
    return mean + truncation * (w - mean)


def to_picture(image: torch.Tensor, size: int | None = None) -> Image.Image:
    """(3, S, S) in [-1, 1] (clamped) -> picture, reduced to `size` pixels where given."""
    picture = Image.fromarray(to_pixels(image))
    return picture.resize((size, size), Image.Resampling.LANCZOS) if size else picture


def sample(
    folder: Path,
    generator: Generator,
    *,
    n: int,
    seed: int = 0,
    truncation: float = TRUNCATION,
    size: int | None = None,
    suffix: str = ".jpg",
    progress: Callable[[int], None] | None = None,
) -> int:
    """Renders the faces of seeds `seed` .. `seed + n - 1` into `folder`.

    Writes ``seed000007.jpg`` and so on, and ``latents.parquet`` with their W codes, which
    `ris ingest` finds by itself. Faces already there with a latent are left alone.

    Args:
        folder: created if need be.
        generator: renders them.
        n: number of faces, at least 1.
        seed: first seed, not negative.
        truncation: 0 (mean face) to 1 (full variety).
        size: pixels to reduce to; None for the generator's own size.
        suffix: ``.jpg`` or ``.png``.
        progress: called with the number of faces done.

    Returns:
        number of faces rendered now.

    Raises:
        InputError: an argument out of range, or latents of another kind in the folder.
        MismatchError: the folder holds faces of another generator.
        StoreError: the folder cannot be written.
    """
    if n < 1 or seed < 0 or seed + n > 2**31:
        raise InputError(f"cannot sample {n} faces from seed {seed}")
    if not 0 <= truncation <= 1:
        raise InputError(f"`truncation` lies between 0 and 1, not {truncation}")
    if size is not None and not 32 <= size <= generator.image_size:
        raise InputError(f"`size` lies between 32 and {generator.image_size}, not {size}")
    if suffix not in (".jpg", ".png"):
        raise InputError(f"faces are written as jpg or png, not {suffix}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise disk_error(e, folder) from e
    table = _Sidecar(folder, generator.fingerprint)
    rendered = 0
    for i in range(n):
        name = f"seed{seed + i:06d}{suffix}"
        w = sample_w(generator, seed + i, truncation)
        if not table.has(name, w):
            with torch.no_grad():
                picture = to_picture(generator.render(generator.sigma(w[None]))[0], size)
            _save(folder / name, picture)
            table.put(name, w)
            rendered += 1
            if rendered % SAVE_EVERY == 0:
                table.write()
        if progress:
            progress(i + 1)
    table.write()
    return rendered


def _save(path: Path, picture: Image.Image) -> None:
    with replacing(path) as temporary:
        if path.suffix == ".png":
            picture.save(temporary, "PNG")
        else:
            picture.save(temporary, "JPEG", quality=95, subsampling=0, comment=NOTE)


class _Sidecar:
    """The latents file of a folder, with what it held before."""

    def __init__(self, folder: Path, generator: str) -> None:
        self._folder = folder
        self._generator = generator
        self._codes: dict[str, tuple[np.ndarray, str]] = {}
        if (folder / SIDECAR).exists():
            before = read_latents(folder / SIDECAR)
            if before.files is None or before.hashes is None:
                raise InputError(f"{folder / SIDECAR} was not written by `ris.sample`")
            if before.generator not in (None, generator):
                raise MismatchError(
                    f"the faces in {folder} are of generator {before.generator}, this run has "
                    f"{generator}",
                    "name another folder",
                )
            codes = (before.codes[i] for i in range(len(before.codes)))
            entries = zip(codes, before.hashes, strict=True)
            self._codes = dict(zip(before.files, entries, strict=True))

    def has(self, name: str, w: torch.Tensor) -> bool:
        """Whether the photo is there with this very code."""
        if name not in self._codes or not (self._folder / name).is_file():
            return False
        return np.allclose(self._codes[name][0], w.cpu().numpy(), atol=1e-4)

    def put(self, name: str, w: torch.Tensor) -> None:
        sha = file_sha256(self._folder / name)
        self._codes[name] = (w.cpu().numpy(), sha)

    def write(self) -> None:
        names = sorted(self._codes)
        codes = np.stack([self._codes[n][0] for n in names])
        hashes = [self._codes[n][1] for n in names]
        write_latents(self._folder / SIDECAR, codes, names, hashes, self._generator)
