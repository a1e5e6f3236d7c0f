"""Real photos to train on: aligned once, with landmarks and file names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ris.errors import ImageError, InputError
from ris.ingest.alignment.cut import Aligner, Cut
from ris.ingest.inversion.contract import resize
from ris.ingest.pictures.decode import decode

CHUNK = 250  # photos in one file
SIZE = 128


class Photos(NamedTuple):
    """Aligned photos.

    Attributes:
        images: (N, 3, 128, 128) uint8.
        landmarks: (N, 478, 2) float16, parts of the side.
        weights: (N,) float32, how often each is drawn.
    """

    images: torch.Tensor
    landmarks: torch.Tensor
    weights: torch.Tensor


def crop_landmarks(cut: Cut) -> np.ndarray:
    """(478, 2) landmarks of a cut's face as parts of the cut's side, right and down."""
    assert cut.face is not None
    right, down = cut.quad[3] - cut.quad[0], cut.quad[1] - cut.quad[0]
    axes = np.stack([right / (right @ right), down / (down @ down)], 1)
    parts: np.ndarray = (cut.face.landmarks[:, :2] - cut.quad[0]) @ axes
    return parts


def gather(paths: Iterable[Path], folder: Path, name: str) -> Iterator[tuple[int, int]]:
    """Aligns photos and keeps them under `folder` as ``photos-NAME-*.safetensors``.

    Photos without a face are left out; finished files are not made again. The metadata ``files``
    of each is a JSON list of the photos' names.

    Yields:
        photos and faces so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aligner = Aligner()
    seen = faces = 0
    ordered = sorted(paths)
    for first in range(0, len(ordered), CHUNK):
        part = ordered[first : first + CHUNK]
        seen += len(part)
        path = folder / f"photos-{name}-{first:06d}.safetensors"
        if not path.exists():
            tensors, names = _aligned(part, aligner)
            partial = path.with_suffix(".partial")
            save_file(tensors, partial, metadata={"files": json.dumps(names)})
            partial.replace(path)
        faces += len(load_file(path)["images"])
        yield seen, faces


@torch.inference_mode()
def _aligned(paths: list[Path], aligner: Aligner) -> tuple[dict[str, torch.Tensor], list[str]]:
    images, landmarks = [torch.zeros(0, 3, SIZE, SIZE)], [np.zeros((0, 478, 2))]
    names = []
    for path in paths:
        try:
            cut = aligner.cuts(decode(path))[0]
        except ImageError:
            continue
        if cut.face is None:
            continue
        pixels = torch.from_numpy(cut.pixels.copy()).permute(2, 0, 1)[None].float()
        image = resize(pixels, SIZE).round().clamp(0, 255)
        images.append(image)
        landmarks.append(crop_landmarks(cut)[None])
        names.append(path.name)
    tensors = {
        "images": torch.cat(images).to(torch.uint8).contiguous(),
        "landmarks": torch.from_numpy(np.concatenate(landmarks)).half(),
    }
    return tensors, names


def load_photos(folder: Path, weights: dict[str, float] | None = None) -> Photos:
    """Everything that `gather` kept under `folder`.

    Args:
        folder: see `gather`.
        weights: how often photos of a name are drawn, 1 where not given.

    Raises:
        FileNotFoundError: nothing there.
    """
    files = sorted(folder.glob("photos-*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no photos in {folder}: run the `photos` step first")
    parts = [load_file(path) for path in files]
    drawn = [
        torch.full(
            (len(part["images"]),), (weights or {}).get(path.stem.rsplit("-", 1)[0][7:], 1.0)
        )
        for path, part in zip(files, parts, strict=True)
    ]
    images, landmarks = (torch.cat([p[k] for p in parts]) for k in ("images", "landmarks"))
    return Photos(images, landmarks, torch.cat(drawn))


def photo_names(folder: Path) -> list[str]:
    """File names of the photos that `load_photos` gives, in the same order.

    Raises:
        InputError: a file was kept without names.
    """
    names: list[str] = []
    for path in sorted(folder.glob("photos-*.safetensors")):
        with safe_open(path, framework="pt") as f:
            kept = (f.metadata() or {}).get("files")
        if kept is None:
            raise InputError(f"{path} holds no file names: delete it and align its photos again")
        names += json.loads(kept)
    return names


def mirror_order(landmarks: torch.Tensor) -> torch.Tensor:
    """(N, M, 2) landmarks of many faces -> (M,) the landmark that each becomes in a mirror.

    The mean face is nearly symmetric, so each mark of the mirrored mean shape is paired with the
    mark that lies there, all of them at the least distance.
    """
    from scipy.optimize import linear_sum_assignment

    mean = landmarks.double().mean(0)
    mirrored = torch.stack([1 - mean[:, 0], mean[:, 1]], 1)
    _, order = linear_sum_assignment(torch.cdist(mirrored, mean).square().numpy())
    return torch.from_numpy(order)


def mirrored(
    images: torch.Tensor, landmarks: torch.Tensor, order: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (B, 3, S, S) and landmarks (B, M, 2) as a mirror shows them."""
    flipped = landmarks[:, order].clone()
    flipped[..., 0] = 1 - flipped[..., 0]
    return images.flip(3), flipped
