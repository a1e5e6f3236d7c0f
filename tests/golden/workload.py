"""The workload: command lines in a folder of its own, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

RIS = (sys.executable, "-m", "ris")
"""The command `ris` of this checkout."""
ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "tests" / "cases"
PORTRAIT = "photos/portrait.jpg"
UPSIDE_DOWN = "photos/upsidedown_1600x1200_seed000619.jpg"
UNSEEN = "upsidedown_1080x2400_seed000619.jpg"
"""A photo that lies beside the collection."""
LATER = "later/cliff_720px.jpg"
MIX = (
    *("--feature", "eyes:2", "--feature", "hair:1", "--feature", "pose:0.5"),
    *("--furthest", "--k", "3", "--where", "face = 0"),
)
TIME_NS = 1_700_000_000_000_000_000
"""When all photos were changed last: rows hold it."""
LABELS = """\
file,odd,person
seed000100.jpg,0,ann
seed000101.jpg,1,bob
seed000102.jpg,0,ann
seed000103.jpg,1,bob
seed000104.jpg,0,cleo
portrait.jpg,1,cleo
"""
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
"""One thread and no GPU: on one machine the same bits every time."""

Look = Callable[[str, Path], None]


class Workload:
    """The command lines and what they print.

    Args:
        folder: an empty one, where all of it happens.
        look_at_rows: called with a moment's name and the folder after faces came or went.
        look_at_indices: likewise after indices were written.
    """

    def __init__(self, folder: Path, look_at_rows: Look, look_at_indices: Look) -> None:
        self.folder = folder
        self._look_at_rows, self._look_at_indices = look_at_rows, look_at_indices
        self.printed: dict[str, Any] = {}
        """By the step's name, what it printed as JSON."""

    def run(self) -> None:
        """Does all of it, about 40 s on one core."""
        self._ris("sample", "sample", "faces", "--n", 6, "--seed", 100, "--size", 128)
        self._lay_photos()
        words = ("--faces", "all", "--metadata", "labels.csv")
        self._ris("ingest", "ingest", "faces", "photos", *words)
        self._look_at_rows("ingested", self.folder)
        self._ris("failures", "failures")
        self._ris("index", "index", "--all", "--kind", "exact")
        self._look_at_indices("exact", self.folder)
        self._query("exact")
        self._ris("query photo", "query", UNSEEN, *MIX, "--out", "sheet.png")
        self._lay(CASES / Path(LATER).name, LATER)
        self._ris("ingest later", "ingest", "later")
        self._look_at_rows("appended", self.folder)
        self._look_at_indices("appended", self.folder)
        self._query("appended")
        self._ris("info", "info")
        self._kinds()
        self._tables()
        self._pictures()
        self._ris("remove", "remove", self._id(PORTRAIT))
        self._ris("verify", "verify")
        self._look_at_rows("removed", self.folder)
        self._ris("export", "export", "export.parquet")

    def _kinds(self) -> None:
        self._ris("index sketch", "index", "--all", "--kind", "sketch", "--rebuild")
        self._look_at_indices("sketch", self.folder)
        self._query("sketch")
        self._mouth("hnsw", "--kind", "hnsw")
        self._mouth("hard", "--kind", "exact", "--mask", "hard")
        other = ("--mask", "soft", "--tau", 0.2, "--to-image", "--norm", "layer")
        self._mouth("other recipe", "--kind", "exact", *other)

    def _mouth(self, name: str, *words: object) -> None:
        self._ris(f"index {name}", "index", "--feature", "mouth", "--rebuild", *words)
        self._look_at_indices(name, self.folder)
        query = (self._id("faces/seed000103.jpg"), "--feature", "mouth", "--furthest")
        self._ris(f"query {name}", "query", *query)

    def _query(self, name: str) -> None:
        face = self._id("faces/seed000101.jpg")
        self._ris(f"query id {name}", "query", face, "--feature", "nose")
        self._ris(f"query mix {name}", "query", self._id(PORTRAIT), *MIX)

    def _tables(self) -> None:
        self._ris("view", "sql", "describe faces")
        columns = "path, face, aligned, width, height, inverter, yaw, smile, odd, person"
        self._ris("rows", "sql", f"select {columns} from faces order by path, face")

    def _pictures(self) -> None:
        size = ("--size", 256)
        given = (self._id("faces/seed000102.jpg"), PORTRAIT, "--feature", "hair", *size)
        self._ris("transfer", "transfer", *given, "--out", "transfer.png")
        mix = ("--feature", "eyes", "--feature", "mouth:0.5", "--alpha", 0.9, "--mask", "soft")
        words = (UPSIDE_DOWN, "seed:105", *mix, "--paste", "crop", "--out", "pasted.png")
        self._ris("paste", "transfer", *words)
        self._ris("catalogue", "catalog", "show", "--faces", 2, "--out", "catalogue.png")

    def _lay_photos(self) -> None:
        self._lay(ROOT / "data" / "models" / "assets" / "portrait.jpg", PORTRAIT)
        self._lay(CASES / Path(UPSIDE_DOWN).name, UPSIDE_DOWN)
        self._lay(CASES / UNSEEN, UNSEEN)
        self._lay(CASES / "nan.csv", "photos/no_picture.jpg")
        self._lay_group("photos/group.bmp")
        (self.folder / "labels.csv").write_text(LABELS, encoding="utf-8")
        for path in (self.folder / "faces").iterdir():
            os.utime(path, ns=(TIME_NS, TIME_NS))

    def _lay_group(self, name: str) -> None:
        photo = Image.new("RGB", (560, 340), (120, 130, 140))
        with Image.open(self.folder / PORTRAIT) as left:
            photo.paste(left, (20, 40))
        with Image.open(CASES / "icc_truth.png") as right:
            photo.paste(right, (316, 20))
        photo.save(self.folder / name)
        os.utime(self.folder / name, ns=(TIME_NS, TIME_NS))

    def _lay(self, source: Path, name: str) -> None:
        target = self.folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        os.utime(target, ns=(TIME_NS, TIME_NS))

    def _id(self, path: str) -> str:
        if "ids" not in self.printed:
            self._ris("ids", "sql", "select path, id from faces where face = 0 order by path")
        return next(row["id"] for row in self.printed["ids"] if row["path"] == path)

    def _ris(self, name: str, *words: object) -> None:
        done = subprocess.run(
            [*RIS, *map(str, words), "--json"],
            cwd=self.folder,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert name not in self.printed, name
        self.printed[name] = json.loads(done.stdout)
