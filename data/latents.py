"""Latent codes in files: what `ris sample` writes and what users bring."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ris.data.durable import replacing
from ris.errors import InputError, ModelFileError

SIDECAR = "latents.parquet"
"""Found beside the photos, it is used without being named."""
GENERATOR = "ris.generator"
"""Key of the generator's fingerprint in a Parquet file's metadata."""
ROW_GROUP = 1024
"""Codes written, and read, at a time: 2 MB."""
MOST_PACKED = 100
"""How many times smaller than its codes an ``.npz`` may be: one W code for every row of W+ makes
18."""


class Codes(Protocol):
    """N latent codes, each (512,) W or (L, 512) W+ float32, read when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Latents:
    """Codes for photos.

    Attributes:
        codes: N codes.
        files: N file names (no folders), or None where codes go with the sorted photos.
        hashes: N hex sha256 of the photos' bytes, or None; a photo with another is not the
            one that the code belongs to.
        generator: fingerprint of the generator that they are codes of, if it is known.
    """

    codes: Codes
    files: list[str] | None = None
    hashes: list[str] | None = None
    generator: str | None = None

    def of_rows(self, rows: int, photos: int) -> Latents:
        """These codes for a generator of W+ codes of `rows` rows.

        A single (L, 512) array is one W+ code where there is one photo, else it is L codes in W.

        Args:
            rows: L.
            photos: how many they are for.

        Raises:
            InputError: W+ codes of another number of rows.
        """
        if not len(self.codes):
            return self
        first = self.codes[0]
        if first.ndim == 2 and len(first) != rows:
            raise InputError(
                f"the latents are ({len(self.codes)}, {len(first)}, {first.shape[1]}), expected "
                f"(N, 512), ({rows}, 512) or (N, {rows}, 512) for this generator"
            )
        alone = self.files is None and photos == 1 < rows == len(self.codes)
        return replace(self, codes=_OneCode(self.codes)) if first.ndim == 1 and alone else self


class _OneCode:
    """The rows of a single W+ code, which were read as codes of their own."""

    def __init__(self, rows: Codes) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> np.ndarray:
        return np.stack([self._rows[i] for i in range(len(self._rows))])


def write_latents(
    path: Path, codes: np.ndarray, files: list[str], hashes: list[str], generator: str
) -> None:
    """Writes (N, 512) codes beside their photos, as `read_latents` reads them.

    Args:
        path: file to write.
        codes: (N, 512).
        files: names of the N photos.
        hashes: their sha256.
        generator: fingerprint of the generator that they are codes of.
    """
    flat = pa.FixedSizeListArray.from_arrays(
        pa.array(codes.astype(np.float32).reshape(-1)), codes.shape[1]
    )
    table = pa.table({"file": files, "sha256": hashes, "w": flat})
    table = table.replace_schema_metadata({GENERATOR: generator})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROW_GROUP, write_page_checksum=True)


def read_latents(path: Path) -> Latents:
    """Codes from ``.parquet`` (columns file, w, optionally sha256), ``.npy``, ``.npz``, ``.pt``.

    Codes stay on the disk until they are asked for (but for ``.npz``). Pickled arrays, and torch
    files that hold more than tensors, are refused.

    Raises:
        InputError: missing, unreadable, or of another shape than (N, 512), (L, 512) or
            (N, L, 512).
    """
    if not path.is_file():
        raise InputError(f"no latents file {path}")
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path}: latents come as .parquet, .npy, .npz or .pt")
    with _readable(path):
        return read(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Around whatever reads a file that others made: every error of it is the file's.

    Raises:
        InputError: in one line.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as e:  # numpy, zipfile, zlib and Arrow each have their own
        reason = (str(e).splitlines() or [type(e).__name__])[0][:160]
        raise InputError(f"{path} is not a readable latents file, or damaged: {reason}") from e


def _read_npy(path: Path) -> Latents:
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise InputError(f"{path} is no .npy file")
    return _of_array(loaded, path)


def _read_npz(path: Path) -> Latents:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.file_size > MOST_PACKED * max(entry.compress_size, 1 << 16):
                raise InputError(f"{path}: {entry.filename} unpacks to far more than codes could")
    with np.load(path, allow_pickle=False) as loaded:
        names = list(loaded)
        if len(names) != 1 and "w" not in names:
            raise InputError(f"{path} holds {', '.join(names)}", "name the codes 'w'")
        return _of_array(loaded["w" if "w" in names else names[0]], path)


def _of_array(array: np.ndarray, path: Path) -> Latents:
    _check_shape(array.dtype.kind, array.shape, path)
    return Latents(_ArrayCodes(array, path))


def _read_torch(path: Path) -> np.ndarray:
    """The tensor of a torch file, or the only one, or the one called ``w``, of a table."""
    import torch

    from ris.data.models.torch_files import check_dense, read_torch

    try:
        found = read_torch(path)
        if isinstance(found, dict):
            if len(found) != 1 and "w" not in found:
                names = ", ".join(map(str, list(found)[:5]))
                raise InputError(f"{path} holds {names}", "name the codes 'w'")
            found = found["w" if "w" in found else next(iter(found))]
        if not isinstance(found, torch.Tensor):
            raise InputError(f"{path} holds no tensor, expected floats (N, 512) or (N, L, 512)")
        _check_shape("f" if found.is_floating_point() else "i", tuple(found.shape), path)
        check_dense("the codes", found, path)
    except ModelFileError as e:
        raise InputError(str(e)) from e
    array: np.ndarray = found.detach().float().numpy()
    return array


def _read_parquet(path: Path) -> Latents:
    file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    for name in ("file", "w"):
        if name not in file.schema_arrow.names:
            raise InputError(f"{path} has no column {name}")
    table = file.read([n for n in file.schema_arrow.names if n in ("file", "sha256")])
    for name in table.column_names:
        column = table[name]
        if not _is_text(column.type) or column.null_count:
            raise InputError(f"{path}: column {name} has to hold a text in every row")
    kind = file.schema_arrow.field("w").type
    if not pa.types.is_fixed_size_list(kind):
        raise InputError(f"{path}: column w is {kind}, expected a fixed-size list of 512 floats")
    shape = (file.metadata.num_rows, kind.list_size)
    _check_shape("f" if pa.types.is_floating(kind.value_type) else "i", shape, path)
    hashes = table["sha256"].to_pylist() if "sha256" in table.column_names else None
    generator = (file.schema_arrow.metadata or {}).get(GENERATOR.encode())
    return Latents(
        _ParquetCodes(file, path),
        table["file"].to_pylist(),
        hashes,
        generator.decode() if generator else None,
    )


class _ArrayCodes:
    """Codes of a (memory-mapped) array."""

    def __init__(self, array: np.ndarray, path: Path) -> None:
        self._array = array
        self._path = path

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: int) -> np.ndarray:
        return _finite(np.array(self._array[index], dtype=np.float32), self._path)


class _ParquetCodes:
    """Codes of a Parquet file, of which one row group is held at a time."""

    def __init__(self, file: pq.ParquetFile, path: Path) -> None:
        self._file = file
        self._path = path
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._held = -1
        self._group = np.empty(0)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> np.ndarray:
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        if group != self._held:
            with _readable(self._path):
                column = self._file.read_row_group(group, ["w"])["w"].combine_chunks()
            if column.null_count or column.flatten().null_count:
                raise InputError(f"{self._path}: column w has missing values")
            self._group = column.flatten().to_numpy().reshape(len(column), -1)
            self._held = group
        code = self._group[index - self._starts[group]]
        return _finite(np.array(code, dtype=np.float32), self._path)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_shape(kind: str, shape: tuple[int, ...], path: Path) -> None:
    if kind != "f" or len(shape) not in (2, 3) or shape[-1] != 512:
        what = "floats" if kind == "f" else "no floats"
        raise InputError(
            f"{path} holds {what} {shape}, expected floats (N, 512), (L, 512) or (N, L, 512)"
        )


def _finite(code: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(code).all():
        raise InputError(f"{path} holds values that are not finite")
    return code


def _read_pt(path: Path) -> Latents:
    return Latents(_ArrayCodes(_read_torch(path), path))


_READERS: dict[str, Callable[[Path], Latents]] = {
    ".parquet": _read_parquet,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pt": _read_pt,
    ".pth": _read_pt,
}


class CodeTable:
    """Given latents, looked up by the photo's content, else by its name, else by its place.

    Args:
        latents: the codes; None if none are given.
        total: number of photos, to check codes without names against; None if it is not known,
            where there are no such codes.

    Raises:
        InputError: a name stands there twice, or the numbers do not agree.

    Attributes:
        in_order: whether the codes have no names and go with the photos in their order.
    """

    def __init__(self, latents: Latents | None, total: int | None) -> None:
        self._codes = latents.codes if latents else ()
        self._hashes = {sha: i for i, sha in enumerate((latents and latents.hashes) or ())}
        names = (latents and latents.files) or []
        self._names = {name: i for i, name in enumerate(names)}
        if not self._hashes and len(self._names) < len(names):
            raise InputError("the latents file names a photo twice")
        self.in_order = latents is not None and not self._hashes and not self._names
        if self.in_order and len(self._codes) != total:
            raise InputError(
                f"{len(self._codes)} latents for {total} photos: without file names they go "
                "with the photos in order, so the numbers must agree"
            )

    def find(self, number: int, sha256: str, name: str) -> np.ndarray | None:
        """The code of the `number`-th photo, or None if it has to be inverted.

        Where content hashes are known they decide: a photo that was edited since its latent
        was written is another face.
        """
        if self.in_order:
            index: int | None = number
        elif self._hashes:
            index = self._hashes.get(sha256)
        else:
            index = self._names.get(name)
        return None if index is None else self._codes[index]
