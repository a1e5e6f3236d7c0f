"""Pickles that were made to do harm: nothing of them is run, and all end soon, in little memory."""

from __future__ import annotations

import io
import pickletools
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ris.data.latents import read_latents
from ris.data.models.nvidia_pickle import read_networks
from ris.data.models.psp_files import load_encoder_file
from ris.data.models.stylegan2_files import read_weights
from ris.data.models.torch_files import read_torch
from tests.torture.children import Children
from tests.torture.faults import WRONG
from tests.torture.findings import Finding, Tally
from tests.torture.mutations import limit_memory

ROOM = 768 << 20
LIMIT = 20.0
AT_ONCE = 60
CANARY = "canary"


def _calls(module: str, name: str, argument: bytes) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n(" + argument + b"tR."


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def named(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Known ways to harm; those that run something make a file at `canary`."""
    touch = _text(f"touch {canary}")
    for module, name in (("os", "system"), ("posix", "system"), ("subprocess", "getoutput")):
        yield f"{module}.{name}", _calls(module, name, touch)
        stacked = b"\x80\x04" + _text(module) + _text(name) + b"\x93" + touch + b"\x85R."
        yield f"{module}.{name} stacked", stacked
        yield f"{module}.{name} inst", b"(" + touch + b"i" + f"{module}\n{name}\n".encode() + b"."
        yield f"{module}.{name} obj", b"(c" + f"{module}\n{name}\n".encode() + touch + b"o."
        yield (
            f"{module}.{name} newobj",
            b"c" + f"{module}\n{name}\n".encode() + touch + b"\x85\x81.",
        )
    code = _text(f"open({str(canary)!r}, 'w')")
    for name in ("eval", "exec", "__import__", "compile", "open", "getattr"):
        yield f"builtins.{name}", _calls("builtins", name, code)
    yield "torch.load", _calls("torch", "load", touch)
    yield "numpy.load", _calls("numpy", "load", touch)
    yield "torch._utils._rebuild_tensor_v2", _calls("torch._utils", "_rebuild_tensor_v2", touch)
    for tag, form in (
        (b"\x8e", "<Q"),
        (b"\x8d", "<Q"),
        (b"\x96", "<Q"),
        (b"B", "<I"),
        (b"X", "<I"),
    ):
        for size in (1 << 30, (1 << 31) - 1, (1 << 40), (1 << 63)):
            if size < 1 << (8 * struct.calcsize(form)):
                yield f"{tag!r} of {size}", b"\x80\x05" + tag + struct.pack(form, size) + b"abc."
    yield "long4", b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"a."
    yield "long4 negative", b"\x80\x02\x8b" + struct.pack("<i", -5) + b"a."
    yield "digits", b"I" + b"9" * 200_000 + b"\n."
    yield "long digits", b"L" + b"9" * 200_000 + b"L\n."
    yield "memo", b"\x80\x02Nr" + struct.pack("<I", (1 << 32) - 1) + b"."
    yield "memo in words", b"Np" + b"9" * 19 + b"\n."
    yield "memo 2^28", b"\x80\x02Nr" + struct.pack("<I", 1 << 28) + b"."
    yield "get nothing", b"\x80\x02j" + struct.pack("<I", 77) + b"."
    yield "deep", b"\x80\x02" + b"(" * 300_000 + b"l" * 300_000 + b"."
    yield "deep tuples", b"\x80\x02N" + b"\x85" * 300_000 + b"."
    for opener, name in ((b"\x86", "tuples"), (b"", "lists"), (b"", "dicts"), (b"", "sets")):
        yield f"shared {name}", _shared(name, opener, key=False)
        yield f"shared {name} as key", _shared(name, opener, key=True)
    yield "itself", b"\x80\x02]q\x00h\x00a."
    yield "itself as state", b"\x80\x02}q\x00h\x00b."
    yield "persistent", b"(" + _text("storage") + b"tQ."
    yield "persistent id", b"Pabc\n."
    yield "extension", b"\x80\x02\x82\x01."
    yield "frame", b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N."
    yield "stop", b"."
    yield "mark", b"(."
    yield "empty", b""
    yield "no stop", b"\x80\x04N"
    yield "protocol 255", b"\x80\xffN."
    yield "surrogate", b"X\x03\x00\x00\x00\xed\xa0\x80."
    yield "nan", b"\x80\x02G" + struct.pack(">d", float("nan")) + b"."
    yield "float words", b"Fone\n."
    for shape in ((1 << 40,), (1 << 20, 1 << 20, 1 << 20), (-1,)):
        yield f"ndarray {shape}", _array(shape)
        yield f"tensor {shape}", _tensor(shape)


def _shared(name: str, opener: bytes, *, key: bool) -> bytes:
    """Two references to two references to ...: short to write, long to walk through."""
    parts = [
        b"\x80\x04",
        {"tuples": b")", "lists": b"]", "dicts": b"}", "sets": b"\x8f"}[name],
        b"\x94",
    ]
    for i in range(120):
        get = b"h" + bytes([i])
        if name == "tuples":
            parts += [get, get, opener]
        elif name == "lists":
            parts += [b"]", b"(", get, get, b"e"]
        elif name == "dicts":
            parts += [b"}", b"(", b"K\x01", get, b"K\x02", get, b"u"]
        else:
            parts += [b"(", get, get, b"\x91"]  # a frozen set
        parts.append(b"\x94")
    last = b"h" + bytes([120])
    end = [b"}", last, b"N", b"s."] if key else [b"}", _text("G_ema"), last, b"s."]
    return b"".join(parts + end)


def _array(shape: tuple[int, ...]) -> bytes:
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    head = b"\x80\x04cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    return head + dims + _text("b") + b"tR}" + _text("G_ema") + b"h\x00s."


def _tensor(shape: tuple[int, ...]) -> bytes:
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape) + b"t"
    storage = (
        b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x04tQ"
    )
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + b"K\x00"
        + dims
        + dims
        + b"\x89Ntr"
    )[:-2] + b"tR."


def random_program(rng: random.Random) -> bytes:
    """Opcodes in any order, with arguments of the right form."""
    parts = [b"\x80\x04"]
    for _ in range(rng.randrange(1, 60)):
        code = rng.choice(pickletools.opcodes)
        if code.name in ("PROTO", "FRAME", "STOP"):
            continue
        parts.append(code.code.encode("latin-1") + _argument(rng, code))
    return b"".join(parts) + b"."


_NAMES = (b"collections\nOrderedDict\n", b"torch\nFloatStorage\n", b"os\nsystem\n",
          b"numpy\nndarray\n", b"numpy\ndtype\n", b"torch._utils\n_rebuild_tensor_v2\n",
          b"torch_utils.persistence\n_reconstruct_persistent_obj\n", b"dnnlib.util\nEasyDict\n",
          b"argparse\nNamespace\n", b"builtins\nset\n")  # fmt: skip
_WORDS = ("G_ema", "state_dict", "w", "G", "class", "module_src", "state", "type", "")


def _argument(rng: random.Random, code: Any) -> bytes:
    kind = code.arg.name if code.arg is not None else ""
    if not kind:
        return b""
    number = rng.choice((0, 1, 2, 3, 5, 9, 255))
    fixed = {
        "uint1": "<B",
        "uint2": "<H",
        "int4": "<i",
        "uint4": "<I",
        "uint8": "<Q",
        "float8": ">d",
    }
    if kind in fixed:
        return struct.pack(fixed[kind], number)
    word = rng.choice(_WORDS).encode()
    counted = {"1": "<B", "4": "<I", "8": "<Q"}
    if kind[-1] in counted and kind.startswith(
        ("string", "bytes", "unicodestring", "long", "bytearray")
    ):
        return struct.pack(counted[kind[-1]], len(word)) + word
    if kind == "stringnl_noescape_pair":
        return rng.choice(_NAMES)
    if kind in ("stringnl", "unicodestringnl", "stringnl_noescape"):
        return (b"'" + word + b"'" if kind == "stringnl" else word) + b"\n"
    if kind == "decimalnl_long":
        return b"%dL\n" % number
    return b"%d\n" % number


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "networks": (".pkl", read_networks),
    "weights": (".pkl", read_weights),
    "torch": (".pt", read_torch),
    "generator": (".pt", read_weights),
    "encoder": (".pt", load_encoder_file),
    "latents": (".pt", read_latents),
}


def zipped(data: bytes) -> bytes:
    """A torch file of today's form around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(16))
    return out.getvalue()


class Pickles:
    """The section: the named ones once through all readers, then programs by the seed."""

    section = "pickles"

    def __init__(self, folder: Path, children: Children, tally: Tally, seed: int) -> None:
        self.folder, self.children, self.tally, self.seed = folder, children, tally, seed
        folder.mkdir(exist_ok=True)
        self.canary = folder / CANARY
        known = list(named(self.canary))
        self.known = [(name, data, form) for name, data in known for form in ("plain", "zip")]

    def _case(self, number: int, i: int) -> tuple[str, bytes, str]:
        place = number * AT_ONCE + i
        if place // len(READERS) < len(self.known):
            return self.known[place // len(READERS)]
        rng = random.Random(f"{self.seed}/pickles/{number}/{i}")
        form = rng.choice(("plain", "zip"))
        return "random", random_program(rng), form

    def step(self, number: int) -> None:
        """A batch."""
        readers = list(READERS.items())

        def work(i: int) -> bool:
            _, data, form = self._case(number, i)
            _, (suffix, read) = readers[(number * AT_ONCE + i) % len(readers)]
            path = self.folder / f"file{suffix}"
            path.write_bytes(zipped(data) if form == "zip" else data)
            found = read(path)
            return found is not None

        def before(_: int) -> None:
            limit_memory(ROOM)

        limit, self.children.limit = self.children.limit, LIMIT
        try:
            for i, outcome in enumerate(self.children.batch(AT_ONCE, work, before)):
                name, _, form = self._case(number, i)
                reader = readers[(number * AT_ONCE + i) % len(readers)][0]
                wrong = WRONG.get(outcome.status, "")
                if self.canary.exists():
                    wrong, outcome.message = "crash", "it was run"
                    self.canary.unlink()
                group = "random programs" if name == "random" else "known attacks"
                self.tally.count(self.section, group, wrong or outcome.status)
                if wrong:
                    steps = {
                        "section": self.section,
                        "seed": self.seed,
                        "number": number,
                        "place": i,
                    }
                    what = f"{reader}: {name} ({form})"
                    proof = f"{outcome.message}\n{outcome.trace}"
                    self.tally.wrong(Finding(wrong, self.section, group, steps, what, proof))
        finally:
            self.children.limit = limit
