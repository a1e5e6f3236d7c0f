"""Commands as typed: output, JSON, exact error text and exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from conftest import ROOT
from PIL import Image

from ris import cli


@pytest.fixture
def store(filled, tmp_path) -> Path:
    """A copy of the filled store under the working folder."""
    shutil.copytree(filled.folder, tmp_path / ".ris")
    return tmp_path / ".ris"


def commands() -> list[tuple[str, typer.core.TyperCommand]]:
    group = typer.main.get_command(cli.app)
    found = []
    for name, command in group.commands.items():
        nested = getattr(command, "commands", None)
        if nested:
            found += [(f"{name} {n}", c) for n, c in nested.items()]
        else:
            found.append((name, command))
    return found


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_command_has_help_an_example_and_a_place_in_the_docs(name, command):
    assert command.help
    assert f"Example: ris {name}" in command.help
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert f"`ris {name}`" in reference
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name} has no help"
    assert any("--json" in p.opts for p in command.params), f"{name} has no --json"


def test_the_cards_commands_on_a_folder_of_faces(ris, faces, tmp_path):
    folder = tmp_path / "celebahq"
    folder.mkdir()
    for photo in sorted(faces.glob("*.jpg"))[:8]:
        shutil.copy(photo, folder)
    shutil.copy(faces / "latents.parquet", folder)
    status, out, err = ris("ingest", "celebahq/")
    assert (status, err) == (0, "")
    assert out.startswith("8 faces ingested, 0 skipped (already there), 0 failed")
    status, out, _ = ris("index", "--feature", "mouth")
    assert status == 0
    assert out.startswith("mouth       exact  8 faces x ")
    photo = "celebahq/seed000102.jpg"
    words = ("query", photo, "--feature", "eyes", "--k", "5")
    status, _, err = ris(*words)
    assert (status, err) == (0, "ris: no index for eyes yet, building it\n")
    status, out, err = ris(*words, "--furthest", "--out", "sheet.png")
    assert err == ""
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "most alike by eyes"
    assert lines[6] == "least alike by eyes"
    assert lines[1].split()[-1].startswith("celebahq/seed")
    assert photo not in out
    assert (tmp_path / "sheet.png").exists()


def test_json_of_the_commands(ris, store):
    status, out, _ = ris("info", "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["faces"] == 60
    assert facts["style_channels"] == 6752
    eyes = facts["indices"]["eyes"]
    assert eyes == {"kind": "exact", "rows": 60, "current": True, "bytes": eyes["bytes"]}
    assert eyes["bytes"] >= 60 * 3968 * 2
    face = json.loads(ris("sql", "select id from faces order by path", "--json")[1])[0]["id"]
    _, out, _ = ris("query", face, "--feature", "eyes", "--k", 3, "--json")
    found = json.loads(out)
    assert (found["feature"], found["k"], found["query"]["id"]) == ("eyes", 3, face)
    assert [m["rank"] for m in found["nearest"]] == [1, 2, 3]
    assert set(found["furthest"][0]) == {"rank", "id", "path", "score"}
    assert found["nearest"][0]["score"] > found["furthest"][0]["score"]
    assert json.loads(ris("verify", "--json")[1])["damaged"] == []
    removed = json.loads(ris("remove", face, "--json")[1])
    assert removed == {"removed": 1, "faces": 59}
    trsi = json.loads(ris("eval", "trsi", "--queries", 10, "--json")[1])
    assert trsi["trsi_iou"]["RIS soft"]["mean"] < trsi["trsi_iou"]["whole-face sigma"]["mean"]
    assert set(trsi["wilcoxon_p"]) == {"soft", "hard"}
    assert json.loads(ris("models", "--json")[1])["models"][0]["licence"] == "Apache-2.0"


def test_ingest_json(ris, faces, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(faces / "seed000100.jpg", folder)
    shutil.copy(faces / "latents.parquet", folder)
    (folder / "bad.png").write_text("bad")
    status, out, _ = ris("ingest", "in", "--json")
    report = json.loads(out)
    assert status == 0
    assert (report["ingested"], report["skipped"], report["failed"]) == (1, 0, 1)
    assert report["failures"] == [
        {"path": "in/bad.png", "stage": "decode", "reason": "not a picture in a known format"}
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info",), r"no store (.ris/) in {here} or above it: run `ris ingest FOLDER` first, or "
                    "name one with --store"),
        (("ingest", "nothere"), "no file or folder nothere"),
        (("info", "--store", "x"), "{here}/x is not a ris store: run `ris ingest FOLDER` first"),
        (("sample", "s", "--n", "0"), "cannot sample 0 faces from seed 0"),
        (("index",), "name features with --feature, or take --all (one of the two)"),
        (("models", "pull", "--store"), None),
        (("query", "x.jpg"), None),
        (("index", "--feature", "eyes", "--kind", "tree"), None),
        (("catalog", "fit", "--out", "c.txt"), "c.txt: a catalogue is written as .safetensors"),
        (("catalog", "show", "--catalog", "no.safetensors"),
         "no feature catalogue no.safetensors: fit one with `ris catalogue fit` and name it "
         "with --catalogue"),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_usage_errors_status_2(ris, tmp_path, words, message):
    status, _, err = ris(*words)
    if message is None:
        assert status == 2
    else:
        assert status == 1
        assert err == f"ris: {message.format(here=tmp_path)}\n"


def test_errors_within_a_store(ris, store, tmp_path):
    def error(*words: object) -> str:
        status, _, err = ris(*words)
        assert status == 1
        assert err.count("\n") == 1
        return err

    assert "unknown feature 'ears'; known: eyes, nose, mouth" in error("index", "--feature", "ears")
    assert "no photo and no face id 'zz'" in error("query", "zz", "--feature", "eyes")
    assert "columns: id, path" in error("sql", "select nothing from faces")
    assert "an export is written as .parquet" in error("export", "x.csv")
    (tmp_path / "empty").mkdir()
    assert "no photos in empty" in error("ingest", "empty")
    assert "'much' is not a size" in error("index", "--all", "--memory", "much")


def test_a_folder_of_bad_photos_fails(ris, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"")
    status, out, err = ris("ingest", "bad")
    assert status == 1
    assert "1 x read: the file is empty" in out
    assert err == "ris: no face from bad: the file is empty\n"
    assert out.endswith("\n.ris holds 0 faces\n")  # of which no index is to be made


def test_reasons_that_are_different_in_each_photo_do_not_fill_the_screen(ris, tmp_path):
    (tmp_path / "small").mkdir()
    for side in range(2, 32):
        Image.new("RGB", (side, side)).save(tmp_path / "small" / f"{side}.png")
    for _ in range(2):
        status, out, _ = ris("ingest", "small")
        assert status == 1
        assert len(out.splitlines()) < 25
        assert "  20 x 20 other reasons\n" in out
    out = ris("failures")[1]
    assert "  20 x 20 other reasons\n" in out
    assert out.count(" px is below 32 px\n") == 10 + 30


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--inverter", "bad.pt", "bad.pt is no torch file"), ("--refine", "-1", "0 or more steps")],
)
def test_an_inverter_is_looked_at_also_where_all_codes_are_given(
    ris, faces, tmp_path, option, value, message
):
    (tmp_path / "in").mkdir()
    for name in ("seed000100.jpg", "latents.parquet"):
        shutil.copy(faces / name, tmp_path / "in")
    (tmp_path / "bad.pt").write_bytes(b"")
    status, _, err = ris("ingest", "in", option, value)
    assert status == 1
    assert message in err
    assert not (tmp_path / ".ris").exists()  # a store would remember it for later runs


def test_what_is_left_after_removing_is_said(ris, store, faces):
    query = ("query", faces / "seed000100.jpg", "--feature", "eyes")
    assert ris("remove", "--where", "yaw > 1000").out == "0 faces removed, 60 are left\n"
    assert ris("remove", "--where", "true").out == "60 faces removed, 0 are left\n"
    status, out, _ = ris(*query)
    assert (status, out) == (0, "most alike by eyes\n  no other face\n")


def test_export_writes_what_it_says(ris, store, tmp_path):
    import pyarrow.parquet as pq

    assert ris("export", "faces.parquet", "--column", "id", "--column", "w")[0] == 0
    assert pq.read_table(tmp_path / "faces.parquet").shape == (60, 2)


def test_catalogue_pictures(ris, tmp_path):
    status, out, _ = ris("catalog", "show", "--faces", 2)
    assert status == 0
    assert (tmp_path / "catalog.png").exists()
    shares = {line.split()[0]: float(line.split()[1][:-1]) for line in out.splitlines()[1:]}
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)
    assert shares["hair"] > shares["eyes"] > 0.5


def test_a_catalogue_can_be_fitted_and_used(ris, faces, tmp_path):
    made = tmp_path / "mine.safetensors"
    given = ("ingest", "seed000100.jpg", "--latents", "latents.parquet")
    words = ("catalog", "fit", "--clusters", 48, "--faces", 24, "--out", made, "--json")
    status, out, err = ris(*words)
    assert (status, err) == (0, "")
    assert json.loads(out)["clusters"] == 48
    shutil.copy(faces / "seed000100.jpg", tmp_path)
    shutil.copy(faces / "latents.parquet", tmp_path)
    assert (
        ris("ingest", "seed000100.jpg", "--catalog", made, "--latents", "latents.parquet")[0] == 0
    )
    facts = json.loads(ris("info", "--json")[1])
    assert facts["catalogue"] == json.loads(out)["catalogue"]
    # a later run without naming it goes on with the store's own catalogue
    assert ris(*given)[0] == 0


def test_transfer_writes_a_picture_that_says_what_it_is(ris, store):
    ids = json.loads(ris("sql", "select id from faces order by path", "--json")[1])
    first = ids[0]["id"]
    wanted = ("--feature", "nose", "--size", 96, "--out", "new/out.jpg")
    status, printed, _ = ris("transfer", first, "--from-query", 2, *wanted, "--json")
    assert status == 0
    facts = json.loads(printed)
    assert facts["features"] == {"nose": 1.0} and facts["synthetic"] is True
    nearest = json.loads(ris("query", first, "--feature", "nose", "--json")[1])["nearest"]
    assert facts["references"] == [Path(nearest[1]["path"]).name]
    status, printed, _ = ris("transfer", "seed:3", "seed:7", *wanted)
    assert (status, printed) == (0, "new/out.jpg: nose of seed:7\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seed:1", "seed:2"), "name at least one feature"),
        (("seed:1", "--feature", "eyes"), "name a reference"),
        (("seed:1", "seed:2", "--feature", "ears"), "unknown feature 'ears'"),
        (("seed:1", "nowhere.jpg", "--feature", "eyes"), "no photo nowhere.jpg"),
        (("seed:1", "seed:2", "--feature", "eyes", "--tau", 0), "tau must be above 0"),
        (("seed:1", "seed:2", "--feature", "eyes", "--out", "a.bmp"), "this is written as"),
        (("seed:1", "--from-query", 1, "--feature", "eyes"), "--from-query searches a store"),
    ],
)
def test_a_transfer_that_cannot_be_is_one_line(ris, words, message):
    status, printed, error = ris("transfer", *words)
    assert (status, printed) == (1, "")
    assert message in error and error.count("\n") == 1


def test_verify_reads_the_indices_too_and_a_rebuild_heals_them(ris, store):
    assert ris("verify").status == 0
    file = max(
        (store / "index" / "nose").rglob("*"), key=lambda p: p.is_file() and p.stat().st_size
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    status, out, err = ris("verify")
    assert status == 1
    assert "ris index --feature nose --rebuild" in err
    assert err.count("\n") == 1
    problems = json.loads(ris("verify", "--json").out)["indices"]
    assert len(problems) == 1
    assert problems[0] in out
    assert ris("index", "--feature", "nose", "--rebuild").status == 0
    assert ris("verify").status == 0


def test_a_catalogue_may_be_spelled_either_way(ris, tmp_path):
    for name in ("catalogue", "catalog"):
        status, out, err = ris(name, "show", "--faces", 1, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out)["file"] == "catalog.png"
    assert "catalogue" in ris("--help").out.split()
    assert "catalog" not in ris("--help").out.split()


def test_short_help_and_version_are_everywhere(ris):
    from ris import __version__

    assert ris("--version") == (0, f"ris {__version__}\n", "")
    for words in ((), ("query",), ("eval",), ("eval", "trsi")):
        short, long = ris(*words, "-h"), ris(*words, "--help")
        assert short == long
        assert short.status == 0
        assert " ".join(("Usage: ris", *words)) in short.out
