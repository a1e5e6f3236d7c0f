"""Codes that methods of inversion gave, kept between runs and movable between machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.measures.paired_results import Made
from ris.data.durable import replacing
from ris.fingerprints import text_digest


class Codes:
    """W+ codes in half precision, a safetensors file for each method under ``codes/``.

    Photos go by the hex sha256 of their bytes; beside each code are the seconds that it took.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "codes"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[Path, dict[str, torch.Tensor]] = {}

    def get(self, photo: str, method: Made) -> tuple[torch.Tensor, float] | None:
        """Code (L, 512) float32 and seconds, if there."""
        known = self._file(method)
        code = known.get(photo[:20])
        return None if code is None else (code.float(), known[f"{photo[:20]}.seconds"].item())

    def put(self, photos: Sequence[str], method: Made, codes: torch.Tensor, seconds: float) -> None:
        """Keeps codes (B, L, 512), each of which took `seconds`; on disk when this returns."""
        new: dict[str, torch.Tensor] = {}
        for photo, code in zip(photos, codes.cpu(), strict=True):
            new[photo[:20]] = code.half().contiguous()
            new[f"{photo[:20]}.seconds"] = torch.tensor(seconds)
        path = self._path(method)
        self._known[path] = {**self._file(method), **new}
        with replacing(path) as temporary:
            save_file(self._known[path], temporary)

    def _file(self, method: Made) -> Mapping[str, torch.Tensor]:
        path = self._path(method)
        if path not in self._known:
            self._known[path] = load_file(path) if path.exists() else {}
        return self._known[path]

    def _path(self, method: Made) -> Path:
        made = text_digest(method.fingerprint)[:8]
        return self.folder / f"{method.name.replace(' ', '')}-{made}.safetensors"
