"""The reference of JSON outputs has every field that commands print."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from conftest import ROOT

PAGE = ROOT / "docs" / "reference" / "json.md"
FEATURES = ("eyes", "nose", "mouth", "hair", "pose")


def described(command: str) -> set[str]:
    """The names in code of the section about a command."""
    sections = re.split(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = (
        text
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
        if command in title.split(", ")
    )
    return set(re.findall(r"`([a-z_0-9]+)`", text))


def names(value: object) -> set[str]:
    """The names of all fields, without those that are data: features, files, fingerprints."""
    if isinstance(value, list):
        return {name for entry in value for name in names(entry)}
    if not isinstance(value, dict):
        return set()
    own = {name for name in value if re.fullmatch("[a-z_0-9]+", name) and name not in FEATURES}
    return own | {name for entry in value.values() for name in names(entry)}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ris info", ["info"]),
        ("ris query", ["query", "FACE", "nobody.jpg", "--feature", "eyes:2", "--feature", "hair"]),
        ("ris index", ["index", "--feature", "eyes", "--rebuild"]),
        ("ris verify", ["verify"]),
        ("ris remove", ["remove", "FACE"]),
        ("ris export", ["export", "faces.parquet"]),
        ("ris models", ["models"]),
        ("ris ingest", ["ingest", "--metadata", "labels.csv", "photos"]),
    ],
)
def test_every_field_is_described(ris, filled, tmp_path, command, words):
    shutil.copytree(filled.folder, tmp_path / ".ris")
    face = next(filled.batches(["id"])).column(0)[0].as_py()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "labels.csv").write_text("file,who\nseed000100.jpg,a\n")
    ran = ris(*(face if word == "FACE" else word for word in words), "--json")
    found = names(json.loads(ran.out))
    assert found
    assert found - described(command) == set()
