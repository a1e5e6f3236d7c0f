"""Latent codes in files: what `ris sample` writes and what users bring."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data.durable import replacing
from ris.errors import InputError

SIDECAR = "latents.parquet"
"""Found beside the photos, it is used without being named."""


@dataclass(frozen=True)
class Latents:
    """Codes for photos.

    Attributes:
        codes: (N, 512) W or (N, L, 512) W+ float32.
        files: N file names (no folders), or None where codes go with the sorted photos.
        hashes: N hex sha256 of the photos' bytes, or None; a photo with another is not the
            one that the code belongs to.
    """

    codes: np.ndarray
    files: list[str] | None = None
    hashes: list[str] | None = None


def write_latents(path: Path, codes: np.ndarray, files: list[str], hashes: list[str]) -> None:
    """Writes (N, 512) codes beside their photos, as `read_latents` reads them."""
    flat = pa.FixedSizeListArray.from_arrays(
        pa.array(codes.astype(np.float32).reshape(-1)), codes.shape[1]
    )
    table = pa.table({"file": files, "sha256": hashes, "w": flat})
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def read_latents(path: Path) -> Latents:
    """Codes from ``.parquet`` (columns file, w, optionally sha256), ``.npy`` or ``.npz``.

    Pickled arrays are refused.

    Raises:
        InputError: missing, unreadable, or of another shape than (N, 512) or (N, L, 512).
    """
    if not path.is_file():
        raise InputError(f"no latents file {path}")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = pq.read_table(path)
            column = table["w"].combine_chunks()
            codes = np.stack([np.asarray(v, dtype=np.float32) for v in column.to_pylist()])
            hashes = table["sha256"].to_pylist() if "sha256" in table.column_names else None
            return Latents(_checked(codes, path), table["file"].to_pylist(), hashes)
        if suffix in (".npy", ".npz"):
            loaded = np.load(path, allow_pickle=False)
            if suffix == ".npz":
                names = list(loaded)
                if len(names) != 1 and "w" not in names:
                    raise InputError(f"{path} holds {', '.join(names)}: name the codes `w`")
                loaded = loaded["w" if "w" in names else names[0]]
            return Latents(_checked(loaded, path))
    except (OSError, ValueError, KeyError, EOFError, pa.ArrowException) as e:
        raise InputError(f"{path} is not a readable latents file: {e}") from e
    raise InputError(f"{path}: latents come as .parquet, .npy or .npz")


def _checked(codes: np.ndarray, path: Path) -> np.ndarray:
    if codes.dtype.kind != "f" or codes.ndim not in (2, 3) or codes.shape[-1] != 512:
        raise InputError(
            f"{path} holds {codes.dtype} {codes.shape}, expected floats (N, 512) or (N, L, 512)"
        )
    if not np.isfinite(codes).all():
        raise InputError(f"{path} holds values that are not finite")
    return codes.astype(np.float32)
