"""manifest.json: no value that it cannot have, no flipped bit, no name of another file."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import ROOT
from toy_stores import SETTINGS, row

from ris.data import views
from ris.data.manifest import FILE, Manifest
from ris.data.metadata import join_metadata
from ris.data.shards import FaceRow
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.errors import MismatchError, StoreError

FORMAT2 = ROOT / "tests" / "cases" / "format2" / "store"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / ".ris", SETTINGS)
    store.append([row(0), row(1)])
    store.append([row(2)])
    return store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store that an earlier version wrote: no checksum anywhere, faces 0, 2, 3 and 4."""
    if int(pa.__version__.partition(".")[0]) < 26:
        pytest.skip("Arrow before 26 cannot read the missing lists of that version's shards")
    return Path(shutil.copytree(FORMAT2, tmp_path / ".ris"))


def one_line(error: pytest.ExceptionInfo[StoreError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_no_flipped_bit_changes_what_a_manifest_says(store):
    path = store.folder / FILE
    whole, said = path.read_bytes(), store.manifest()
    seen = []
    for i in range(len(whole)):
        flipped = bytearray(whole)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(flipped)
        try:
            assert Manifest.read(store.folder) == said
        except StoreError as e:
            seen.append(str(e))
    assert len(seen) > len(whole) / 2  # the rest is blanks between the values
    for message in seen:
        assert "\n" not in message
        assert "`ris.recover`" in message or "store format" in message


@pytest.mark.parametrize("size", [0, 1, 100, -2])
def test_a_torn_manifest_is_refused(store, size):
    path = store.folder / FILE
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StoreError, match=r"manifest.json is damaged .*`ris.recover`") as e:
        Store.open(store.folder)
    one_line(e)


def paths_of(value: object, path: tuple = ()):
    yield path
    members = value.items() if isinstance(value, dict) else ()
    for key, inner in [*members, *(enumerate(value) if isinstance(value, list) else ())]:
        yield from paths_of(inner, (*path, key))


@pytest.mark.parametrize(
    "wrong", [None, True, -1, 1.5, float("nan"), 10**30, "", "../../x", "\ud800", [], {}, [[]]]
)
def test_every_value_is_checked(old, wrong):
    """In the format without a checksum, so that the values alone decide."""
    path = old / FILE
    right, said = json.loads(path.read_text()), Manifest.read(old)
    said_wrong = []
    optional = {("settings", "max_resolution"), ("generator_file",), ("inverter_file",)}
    for place in paths_of(right):
        changed = wrong
        if place:
            changed = copy.deepcopy(right)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = wrong
        path.write_text(json.dumps(changed))
        try:
            found = Manifest.read(old)
        except StoreError as e:
            said_wrong.append(str(e))
        else:
            texts = (isinstance(wrong, str) and place[0] == "settings") or place in optional
            flags = isinstance(wrong, bool) and place[-1] in ("early", "to_image", "instance_norm")
            assert texts or flags or (wrong == [] and place == ("shards",)), place
            assert found != said or wrong is None or flags
    assert len(said_wrong) > 20
    assert not any("\n" in message for message in said_wrong)


@pytest.mark.parametrize(
    "name",
    [
        "../../x.parquet",
        "part-0.parquet",
        "part-000001.parquet",
        "/etc/passwd",
        "part-00001.parquet/",
    ],
)
def test_a_manifest_names_shards_alone(old, tmp_path, name):
    """`ris remove` deleted whatever file a manifest named."""
    (tmp_path / "x.parquet").write_text("mine")
    path = old / FILE
    raw = json.loads(path.read_text())
    raw["shards"][0]["file"] = name
    path.write_text(json.dumps(raw))
    with pytest.raises(StoreError, match=r"a shard's name is '.*`ris.recover`") as e:
        Store.open(old).remove(["face0000"])
    one_line(e)
    assert (tmp_path / "x.parquet").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw["shards"].append(raw["shards"][0]), "lists a shard twice"),
        (lambda raw: raw.update(next_shard=1), "next_shard is a number that a shard has"),
        (lambda raw: raw.update(nextshard=1), "unknown 'nextshard'"),
        (lambda raw: raw["settings"].pop("classes"), "settings lacks 'classes'"),
        (lambda raw: raw["settings"]["layers"].reverse(), "ordered by resolution"),
        (
            lambda raw: raw["settings"].update(max_resolution=1),
            "no style layer is at most 1 px wide",
        ),
        (lambda raw: raw["settings"].update(classes=["eyes", "eyes"]), "one twice"),
        (lambda raw: raw.update(format="2"), "format is '2'"),
    ],
)
def test_what_does_not_go_together_is_named(old, change, said):
    path = old / FILE
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(StoreError, match=said) as e:
        Store.open(old)
    one_line(e)


def test_deep_nesting_is_one_line(store):
    (store.folder / FILE).write_text("[" * 100_000)
    with pytest.raises(StoreError, match="it is not JSON") as e:
        Store.open(store.folder)
    one_line(e)


def ids(store: Store) -> list[str]:
    return sorted(i for b in store.batches(["id"]) for i in b.column("id").to_pylist())


def test_a_store_of_an_earlier_version_is_read_and_goes_on(old, tmp_path):
    store = Store.open(old)
    assert ids(store) == ["face0000", "face0002", "face0003", "face0004"]
    got = store.face("face0003")
    for f in dataclasses.fields(FaceRow):
        wanted = getattr(row(3), f.name)
        assert (getattr(got, f.name) == wanted) if not hasattr(wanted, "shape") else True, f.name
    assert got.sigma.tobytes() == row(3).sigma.tobytes()
    assert style_statistics(store).count == 4
    assert views.select_ids(store, "who = 'Bo'") == {"face0004"}
    with pytest.raises(MismatchError, match="catalogue"):
        Store.create(old, dataclasses.replace(SETTINGS, catalogue="another"))
    state = store.manifest().state
    store.remember(generator=tmp_path / "weights.pt")
    assert json.loads((old / FILE).read_text())["format"] == 3
    assert store.manifest().state == state
    assert store.append([row(5), row(0)]) == 1
    assert store.remove(["face0002"]) == 1
    store.compact()
    assert ids(store) == ["face0000", "face0003", "face0004", "face0005"]
    table = tmp_path / "labels.csv"
    table.write_text("file,who\n0005.jpg,Cy\n")
    join_metadata(store, table)
    assert views.select_ids(store, "who is not null") == {"face0000", "face0004", "face0005"}
