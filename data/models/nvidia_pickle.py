"""Reads NVIDIA's network pickles without running them.

A ``.pkl`` of stylegan2-ada-pytorch or stylegan3 is a dictionary of networks, each stored as a call
with the Python source of its class and the attributes of the object. NVIDIA's loader executes
that source. Everything that is needed stands in the attributes, so here the few names that such
a file may call are replaced by builders of plain data (`_BUILDERS`); any other name ends the
reading before anything was called. Tensors stay views of the file's bytes until they are asked
for, and may not be larger than those.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ris.data.models.sealed_pickle import check_pickle
from ris.errors import ModelFileError

DEPTH = 12
"""Networks within networks that are followed."""
MOST_NETWORKS = 10_000
"""Networks inside one, counted as often as they are named."""
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
_DTYPE = re.compile(r"(b?float|u?int|complex|bool)\d*")
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Network:
    """One network of a pickle.

    Attributes:
        class_name: of the class whose object it was.
        attributes: the object's attributes, plain data.
    """

    class_name: str
    attributes: Mapping[str, Any]

    def tensors(self) -> dict[str, np.ndarray]:
        """Parameters and buffers, also of the networks inside, by their dotted names.

        Raises:
            ModelFileError: the attributes are not a network's.
        """
        found: dict[str, np.ndarray] = {}
        for prefix, network in self.walk():
            for kind in ("_parameters", "_buffers"):
                for name, value in _table(network, kind).items():
                    if value is None:
                        continue
                    if not isinstance(value, np.ndarray):
                        raise ModelFileError(f"{prefix}{name} is no tensor")
                    found[f"{prefix}{name}"] = value
        return found

    def walk(self) -> list[tuple[str, Network]]:
        """This network and those inside, with the prefixes of their names (``mapping.fc0.``).

        Raises:
            ModelFileError: the attributes are not a network's.
        """
        found: list[tuple[str, Network]] = []
        waiting = [("", self, 0)]
        while waiting:
            prefix, network, depth = waiting.pop()
            found.append((prefix, network))
            if depth > DEPTH or len(found) + len(waiting) > MOST_NETWORKS:
                raise ModelFileError("the networks of the file contain each other without end")
            inside = []
            for name, inner in _table(network, "_modules").items():
                if isinstance(inner, Network):
                    inside.append((f"{prefix}{name}.", inner, depth + 1))
                elif inner is not None:
                    raise ModelFileError(f"{prefix}{name} is no network")
            waiting += reversed(inside)
        return found


def _table(network: Network, kind: str) -> dict[str, Any]:
    table = network.attributes.get(kind, {})
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
        raise ModelFileError(f"{kind} of the file's {network.class_name} is no table of names")
    return table


def read_networks(path: Path) -> dict[str, Network]:
    """The networks of a pickle by name (``G_ema``, ``D``, ...).

    Raises:
        ModelFileError: not such a file, damaged, or it wants to call anything else; nothing of
            the file was run.
    """
    try:
        with path.open("rb") as file:
            check_pickle(file, path.stat().st_size)
            file.seek(0)
            content = _Reader(file).load()
    except ModelFileError as e:
        raise ModelFileError(f"{path}: {e}") from e
    except OSError as e:
        raise ModelFileError(f"cannot read {path}: {e.strerror}") from e
    except Exception as e:  # whatever the unpickler raises on broken files
        raise ModelFileError(
            f"{path} is not a network pickle, or damaged ({type(e).__name__})"
        ) from e
    networks = (
        {k: v for k, v in content.items() if isinstance(v, Network)}
        if isinstance(content, dict)
        else {}
    )
    if not networks:
        raise ModelFileError(f"{path} is a pickle without any network in it")
    return networks


class _Sealed(type):
    """Type of classes that a file cannot change."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(name)


class _Table(dict[Any, Any], metaclass=_Sealed):
    """An ordered or attribute dictionary."""

    __slots__ = ()


class _Inert(metaclass=_Sealed):
    """A value that nobody needs: a NumPy scalar, a device, a type."""

    __slots__ = ()

    def __new__(cls, *_: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None: ...


class _Builder:
    """A function that a file may call but not change."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class _Reader(pickle.Unpickler):
    """An unpickler that knows `_BUILDERS` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The builder of a name, or an error."""
        if (module, name) in _BUILDERS:
            return _BUILDERS[module, name]
        if module == "torch" and _DTYPE.fullmatch(name):
            return _Inert()
        if module.startswith("dnnlib.tflib"):
            raise ModelFileError(
                "this is a TensorFlow pickle: turn it into a PyTorch one with legacy.py of "
                "stylegan2-ada-pytorch first"
            )
        raise ModelFileError(f"the pickle wants {module}.{name}, which no network file needs")

    def persistent_load(self, pid: Any) -> Any:
        """Such files have none."""
        raise ModelFileError("the pickle refers to something outside of it")


class _PlainReader(pickle.Unpickler):
    """An unpickler of numbers, texts, lists and dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        """No name is known."""
        raise ModelFileError(f"a tensor's header wants {module}.{name}")


class _StorageReader(_PlainReader):
    """An unpickler of the reference to a storage, which it gives back as it is."""

    def find_class(self, module: str, name: str) -> Any:
        """The number format of a storage type."""
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """The reference."""
        return pid


def _storage(data: Any) -> np.ndarray:
    """(n,) numbers of a storage, a view of bytes in torch's older file format."""
    if not isinstance(data, bytes):
        raise ModelFileError("a tensor's numbers are no bytes")
    stream: IO[bytes] = io.BytesIO(data)
    for _ in range(5):
        check_pickle(stream, len(data))
    stream.seek(0)
    if _PlainReader(stream).load() != _TORCH_MAGIC:
        raise ModelFileError("a tensor's numbers are not in torch's format")
    _PlainReader(stream).load()  # version of the format
    system = _PlainReader(stream).load()
    kind, dtype, key, _, count, *view = _StorageReader(stream).load()
    keys = _PlainReader(stream).load()
    if kind != "storage" or keys != [key] or any(view) or dtype not in _STORAGES.values():
        raise ModelFileError("a tensor's header is damaged")
    if isinstance(system, dict) and not system.get("little_endian", True):
        raise ModelFileError("a tensor's numbers are big-endian")
    start = stream.tell() + 8
    (stored,) = struct.unpack("<q", data[start - 8 : start])
    if stored != count or count < 0 or start + count * np.dtype(dtype).itemsize > len(data):
        raise ModelFileError("a tensor has fewer numbers than its header says")
    return np.frombuffer(data, dtype, count, start)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """View of a storage; it must fit into it, and hold no number twice."""
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or len(size) != len(stride):
        raise ModelFileError("a tensor of the file has no numbers")
    if len(size) > _MOST_DIMENSIONS:
        raise ModelFileError(f"a tensor of the file has {len(size)} dimensions")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise ModelFileError("a tensor's shape is damaged")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > storage.size or (count and last >= storage.size):
        raise ModelFileError(f"a tensor of shape {tuple(size)} with {storage.size} numbers")
    steps = [step * storage.itemsize for step in stride]
    view = storage[offset:] if count else storage[:0]
    return np.lib.stride_tricks.as_strided(view, tuple(size), steps, writeable=False)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _network(meta: Any) -> Network:
    """A network from the dictionary that its class, source and attributes are stored in."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise ModelFileError("a network of the file is no class")
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise ModelFileError("a network of the file lacks its name or its attributes")
    return Network(name, state)


_BUILDERS: dict[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Builder(_network),
    ("torch._utils", "_rebuild_tensor_v2"): _Builder(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Builder(_parameter),
    ("torch.storage", "_load_from_bytes"): _Builder(_storage),
    ("collections", "OrderedDict"): _Table,
    ("dnnlib.util", "EasyDict"): _Table,
    ("builtins", "set"): _Inert,
    ("torch", "device"): _Inert,
    ("torch", "Size"): _Inert,
    ("numpy", "dtype"): _Inert,
    ("numpy", "ndarray"): _Inert,
    ("numpy.core.multiarray", "_reconstruct"): _Inert,
    ("numpy._core.multiarray", "_reconstruct"): _Inert,
    ("numpy.core.multiarray", "scalar"): _Inert,
    ("numpy._core.multiarray", "scalar"): _Inert,
}
