"""What the product does to files, each as one piece of work on a copy of a small folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ris.data.failures import Failure, update_failures
from ris.data.inspect import export, summary
from ris.data.latents import Latents, read_latents, write_latents
from ris.data.manifest import FILE as MANIFEST
from ris.data.metadata import join_metadata
from ris.data.recovery import recover
from ris.data.stats_file import FILE as STATISTICS
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import METADATA
from ris.errors import RisError
from ris.face_names import FaceId
from ris.index import KINDS
from ris.index.build import build_indices, refresh_indices
from ris.ingest.alignment.cut import Aligner
from ris.ingest.embedding import Embedded
from ris.ingest.pipeline import ingest
from ris.query.searcher import Searcher
from tests.torture import stores
from tests.torture.stores import FACES, FEATURE, SETTINGS, rows


@dataclass(frozen=True)
class Operation:
    """Something that a person lets the product do.

    Attributes:
        name: of it.
        group: what the report counts it as.
        template: the folder that it begins with, see `make_template`.
        work: does it, in a copy of that folder; what it returns is compared, None is not.
        whole: whether it is one commit, of which all or nothing is done.
        reads: whether it only reads.
        once: whether it is refused where it was done already.
        sql: whether it asks DuckDB, which crashes where it cannot start its threads.
        otherwise: another way to an end that is as good, which a fault may lead to.
    """

    name: str
    group: str
    template: str
    work: Callable[[Path], Any]
    whole: bool = True
    reads: bool = False
    once: bool = False
    sql: bool = False
    otherwise: Callable[[Path], Any] | None = None


class _NoFinder:
    """Finds no faces: photos of given latents are taken as they are, whatever they show."""

    def find(self, *_: Any, **__: Any) -> list[Any]:
        return []


class _PlainAligner(Aligner):
    finder = _NoFinder()  # type: ignore[assignment]


class _Embedder:
    """Rows by a rule instead of networks: what is tried here are files."""

    generator = SimpleNamespace(device=torch.device("cpu"))

    def embed_all(self, codes: list[torch.Tensor]) -> list[Embedded]:
        found = []
        for code in codes:
            rng = np.random.default_rng(
                int(hashlib.sha256(code.numpy().tobytes()).hexdigest()[:8], 16)
            )
            found.append(
                Embedded(
                    code.expand(2, -1).clone(),
                    torch.from_numpy(rng.standard_normal(stores.CHANNELS, dtype=np.float32)),
                    torch.from_numpy(rng.random((3, stores.COVERED), dtype=np.float32)),
                )
            )
        return found


_MODELS = SimpleNamespace(embedder=_Embedder(), aligner=_PlainAligner())
"""Without an inverter, since every photo has its latent."""


def _open(folder: Path) -> Store:
    return Store.open(folder / ".ris")


def _ingest(folder: Path) -> None:
    store = _open(folder)
    photos = sorted((folder / "new").glob("*.png"))
    codes = np.random.default_rng(7).standard_normal((len(photos), 512), dtype=np.float32)
    ingest(
        store,
        photos,
        _MODELS,  # type: ignore[arg-type]
        total=len(photos),
        latents=Latents(codes),
        workers=1,
    )
    for problem in refresh_indices(store).values():
        if isinstance(problem, RisError):
            raise problem


def _remove(folder: Path) -> int:
    return _open(folder).remove([row.id for row in rows(15, 25)])


def _relocate(folder: Path) -> None:
    moved = rows(5, 8)
    for row in moved:
        row.path = f"elsewhere/{row.path}"
    _open(folder).relocate(moved)


def _replace(folder: Path) -> None:
    _open(folder).append([stores.row(1000 + n, path=f"photos/{n:04d}.jpg") for n in range(18, 23)])


def join(folder: Path) -> None:
    join_metadata(_open(folder), folder / "more.csv")


def _statistics(folder: Path) -> str:
    (folder / ".ris" / STATISTICS).unlink(missing_ok=True)
    return stores.statistics(_open(folder))


def _failures(folder: Path) -> None:
    update_failures(_open(folder), [Failure("photos/other.jpg", "align", "no face")], [])


def _create(folder: Path) -> None:
    Store.create(folder / "fresh" / ".ris", SETTINGS).append(rows(0, 3))


def _build(kind: str) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        build_indices(_open(folder), [FEATURE], kind=kind, rebuild=True)

    return work


def _update(folder: Path) -> None:
    build_indices(_open(folder), [FEATURE])


def _rebuild(folder: Path) -> None:
    build_indices(_open(folder), [FEATURE], rebuild=True)


def _verify(folder: Path) -> dict[str, Any]:
    return stores.problems(_open(folder))


def _drop_damaged(folder: Path) -> None:
    verify(_open(folder), drop_damaged=True)


def _export(folder: Path) -> None:
    export(_open(folder), folder / "out.parquet", ["id", "path", "w"])


def _latents(folder: Path) -> None:
    codes = np.random.default_rng(1).standard_normal((5, 512), dtype=np.float32)
    write_latents(folder / "latents.parquet", codes, list("abcde"), ["0" * 64] * 5, "toy-1")
    read_latents(folder / "latents.parquet")


def _search(folder: Path) -> list[Any]:
    found = Searcher(_open(folder)).search(
        FaceId(rows(3, 4)[0].id), {FEATURE: 1.0}, where="age > 0"
    )
    ends = (found.nearest, found.furthest)
    return [[[m.id, round(m.score, 6)] for m in matches] for matches in ends]


def _read_state(folder: Path) -> dict[str, Any]:
    return stores.state(folder)


class CommandError(Exception):
    """A command line that does not end as one should."""


class CommandRefusal(RisError):
    """A command line that ended in one line and exit status 1."""


def command(*words: str) -> Callable[[Path], None]:
    """A command line, as a program runs it; its stderr is a pipe."""

    def work(folder: Path) -> None:
        from ris import cli

        os.chdir(folder)
        try:
            reading, writing = os.pipe()  # not a file, whose size may be limited
            os.dup2(writing, 2), os.close(writing)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        except OSError as e:  # a shell would not have started it
            raise CommandRefusal(str(e)) from e
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["ris", *words]
        try:
            cli.main()
            status = 0
        except SystemExit as e:
            status = int(e.code or 0)
        sys.stderr.flush()
        os.set_blocking(reading, False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(reading, 1 << 16)
        lines = said.decode(errors="replace").splitlines()
        bad = [line for line in lines if "unexpected" in line or not line.startswith("ris: ")]
        if status not in (0, 1) or bad or (status == 1 and not lines):
            raise CommandError(f"exit {status}: {bad[:3] or lines[:3]}")
        if status == 1:
            raise CommandRefusal(lines[-1])

    return work


ID = rows(17, 18)[0].id

OPERATIONS = (
    Operation("append", "ingest", "plain", lambda f: _open(f).append(rows(FACES, FACES + 6))),
    Operation("replace", "ingest", "plain", _replace),
    Operation("relocate", "ingest", "plain", _relocate),
    Operation("create", "ingest", "plain", _create),
    Operation("photos", "ingest", "plain", _ingest, whole=False),
    Operation("failures", "ingest", "plain", _failures),
    Operation("statistics", "ingest", "plain", _statistics),
    *(Operation(f"build {kind}", "index build", "plain", _build(kind)) for kind in KINDS),
    *(Operation(f"first {kind}", "index build", "bare", _build(kind)) for kind in ("exact", "ivf")),
    *(  # an index that cannot be read is built anew
        Operation(f"update {k}", "index update", f"grown {k}", _update, otherwise=_rebuild)
        for k in KINDS
    ),
    Operation("remove", "remove", "plain", _remove),
    Operation("ris remove", "remove", "plain", command("remove", ID), once=True),
    Operation("metadata", "metadata join", "plain", join, sql=True),
    Operation("compact", "compaction", "plain", lambda f: _open(f).compact()),
    Operation("verify", "verify", "plain", _verify, reads=True),
    Operation("ris verify", "verify", "plain", command("verify"), reads=True),
    Operation("drop damaged", "verify", "damaged", _drop_damaged),
    Operation("recover", "verify", "lost", lambda f: recover(f / ".ris") and None, once=True),
    Operation("export", "export", "plain", _export),
    Operation("latents", "export", "plain", _latents),
    Operation("ris index", "index build", "plain", command("index", "--feature", "mouth")),
    Operation("search", "search", "plain", _search, reads=True, sql=True),
    Operation("ris info", "search", "plain", command("info"), reads=True),
    Operation(
        "ris sql", "search", "plain", command("sql", "select * from faces"), reads=True, sql=True
    ),
    Operation("state", "search", "plain", _read_state, reads=True),
    Operation("summary", "search", "plain", lambda f: summary(_open(f)) and None, reads=True),
)


def make_template(folder: Path, name: str) -> None:
    """The folder that operations of a template begin with."""
    if name == "plain":
        stores.make(folder)
    elif name == "damaged":
        stores.make(folder)
        path = folder / ".ris" / METADATA
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
    elif name == "lost":
        stores.make(folder)
        (folder / ".ris" / MANIFEST).unlink()
    elif name == "bare":
        stores.make(folder, kinds={})
    else:
        store = stores.make(folder, kinds={FEATURE: name.removeprefix("grown ")})
        store.append(rows(FACES, FACES + 6))
        store.remove([row.id for row in rows(2, 4)])


class Workplace:
    """Templates, and one copy of one of them at a time.

    Args:
        folder: of this worker alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.case = folder / "case"
        (folder / "templates").mkdir(parents=True, exist_ok=True)

    def template(self, name: str) -> Path:
        """Where a template lies; made by `make_template` before."""
        return self.folder / "templates" / name.replace(" ", "-")

    def fresh(self, template: str) -> Path:
        """A new copy."""
        if self.case.exists():
            shutil.rmtree(self.case)
        shutil.copytree(self.template(template), self.case)
        return self.case
