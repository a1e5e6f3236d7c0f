"""Faces that the generator makes up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ris.choices import Device, PictureFormat
from ris.door.model_settings import PathLike
from ris.door.words import Progress


@dataclass(frozen=True)
class SampleReport:
    """What `sample` did. `len` is the number of faces in the folder that were asked for.

    Attributes:
        folder: where the faces are.
        rendered: number of faces rendered now.
        kept: number of faces that were there.
    """

    folder: Path
    rendered: int
    kept: int

    def __len__(self) -> int:
        return self.rendered + self.kept

    def to_dict(self) -> dict[str, Any]:
        """What ``ris sample --json`` prints."""
        return {"folder": str(self.folder), "rendered": self.rendered, "kept": self.kept}


def sample(
    folder: PathLike,
    n: int = 100,
    *,
    seed: int = 0,
    truncation: float = 0.7,
    size: int | None = None,
    format: PictureFormat = "jpg",
    generator: PathLike | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> SampleReport:
    """Renders faces, and writes their latents beside them, so that ingesting them is quick.

    Faces that are there already with their latents are left alone.

    Args:
        folder: made if need be.
        n: number of faces, at least 1.
        seed: first seed; the faces are those of ``seed`` to ``seed + n - 1``.
        truncation: 0 (the mean face) to 1 (full variety).
        size: pixels of a side, 32 to the generator's own, which is the default.
        format: of the pictures.
        generator: weights of a StyleGAN2 (.pt, .pkl, .safetensors); None: the one that ships.
        device: where it runs: ``cpu``, ``cuda``, or ``auto``.
        progress: called as ``progress("rendering", done, n)``.

    Raises:
        InputError: an argument out of range, or the folder holds latents of other photos.
        MismatchError: the folder holds faces of another generator.
        StoreError: the folder cannot be written.

    Example:
        >>> ris.sample("made_up", n=1, size=64)
        SampleReport(folder=PosixPath('made_up'), rendered=1, kept=0)
    """
    from ris.data.models.shipped import load_generator
    from ris.ingest import sampling

    target = Path(folder)
    rendered = sampling.sample(
        target,
        load_generator(None if generator is None else Path(generator), device=device),
        n=n,
        seed=seed,
        truncation=truncation,
        size=size,
        suffix=f".{format}",
        progress=None if progress is None else lambda done: progress("rendering", done, n),
    )
    return SampleReport(target, rendered, n - rendered)
