import json
import re

import faiss
import numpy as np
import pytest
from command_line import run_ris

from ris.errors import StoreError
from ris.index import FORMER, KINDS, choose_kind, kind_of
from ris.index.approximate import MIN_CANDIDATES, candidates
from ris.index.directory import check_index, open_index
from ris.index.faiss_kinds import DIMS, Hnsw, Ivf
from ris.index.kind import BUFFERS
from ris.index.meta import META, SEAL, read_meta, seal
from ris.index.vectors import Vectors
from ris.index.writing import IndexAppender, IndexWriter

GB = 1 << 30


@pytest.mark.parametrize(
    ("rows", "row_bytes", "dims", "memory", "kind"),
    [
        (1, 9216, 4608, 4 * GB, "exact"),
        (2480, 9216, 4608, 0, "exact"),  # 22 MB
        (2731, 9216, 4608, 4 * GB, "sketch"),
        (30_000, 250, 4608, 4 * GB, "exact"),  # hard masks, 7 MB
        (30_000, 4400, 6272, 4 * GB, "sketch"),
        (1_000_000, 9216, 4608, 4 * GB, "sketch"),
        (1_000_000, 9216, 4608, 100 << 20, "exact"),  # not even the codes fit
    ],
)
def test_choice_by_size_and_memory(rows, row_bytes, dims, memory, kind):
    assert choose_kind(rows, row_bytes, dims, memory) == kind


def test_chosen_kind_fits_the_memory_it_was_chosen_for():
    for memory in (100 << 20, 150 << 20, 500 << 20, GB, 8 * GB):
        kind = choose_kind(1_000_000, 9216, 6752, memory)
        assert KINDS[kind].held_bytes(1_000_000, 6752) <= memory


def test_estimates_are_ordered_and_grow_with_the_rows():
    exact, sketch, ivf, hnsw = (kind.held_bytes(1_000_000, 4512) for kind in KINDS.values())
    assert exact < sketch < ivf < hnsw
    for kind in list(KINDS.values())[1:]:
        sizes = [kind.held_bytes(rows, 4512) for rows in (1, 1000, 100_000)]
        assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown index kind 'lsh': one of exact, sketch"):
        kind_of("lsh")


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 100, 1000, 30_000, 1_000_000])
def test_parameters_are_sane_for_any_number_of_rows(rows):
    lists = Ivf.lists(rows)
    assert 1 <= lists <= max(1, rows // 16)
    assert lists <= Ivf.training_rows(rows) <= rows
    width = Ivf.width(rows, 6752)
    assert 1 <= width <= min(rows, DIMS)
    widths = Ivf.widths(rows)
    assert widths[0] >= 1 and widths[-1] == lists and list(widths) == sorted(widths)


def test_candidates_grow_with_k():
    assert candidates(1) == candidates(10) == MIN_CANDIDATES
    assert candidates(50) == 1000
    assert candidates(50, factor=2) == 2000


@pytest.mark.parametrize("kind", [Ivf, Hnsw])
def test_estimate_covers_the_real_index(kind, tmp_path):
    rows, dims = 3000, 300
    path, _ = random_unit_file(tmp_path, rows, dims)
    index, _ = kind.build(Vectors(path, rows, dims), tmp_path)
    real = faiss.serialize_index(index._index).nbytes + index.projection.basis.nbytes
    expected = kind.held_bytes(rows, dims) - BUFFERS
    assert 0.6 * expected - (1 << 19) < real < 1.1 * expected + (1 << 19)


def random_unit_file(folder, rows, dims):
    values = np.random.default_rng(0).standard_normal((rows, dims), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    path = folder / "vectors.f16"
    path.write_bytes(values.astype("<f2").tobytes())
    return path, values


# --- one table ------------------------------------------------------------------------------


def test_the_table_names_every_kind_and_says_what_it_costs():
    assert all(kind.name == name and kind.cost for name, kind in KINDS.items())
    assert not set(FORMER) & set(KINDS)


def test_the_command_offers_the_kinds_of_the_table(monkeypatch, capsys):
    text = "".join(run_ris(monkeypatch, capsys, "index", "--help").out.split())
    (named,) = re.findall(r"--kind\W*(auto(?:\|[a-z]+)+)", text)
    assert named.split("|") == ["auto", *KINDS]


# --- kinds of earlier versions --------------------------------------------------------------


def of_a_former_kind(folder, kind, rows):
    """An index as an earlier version wrote it."""
    with IndexWriter(folder, rows.shape[1]) as writer:
        writer.append(rows, [f"{i}" for i in range(len(rows))])
        writer.finish("exact" if kind == "flat" else "ivf", {"feature": folder.name})
    value = json.loads((folder / META).read_text()) | {"kind": kind}
    del value[SEAL]
    (folder / META).write_text(json.dumps(value | {SEAL: seal(value)}))


@pytest.mark.parametrize("kind", FORMER)
def test_an_index_of_a_former_kind_says_how_it_is_built_anew(tmp_path, kind):
    folder = tmp_path / "eyes"
    rows = np.random.default_rng(0).standard_normal((600, 32)).astype(np.float32)
    of_a_former_kind(folder, kind, rows)
    before = sorted(p.name for p in folder.rglob("*"))
    for use in (read_meta, open_index, check_index, IndexAppender):
        with pytest.raises(StoreError) as caught:
            use(folder)
        text = str(caught.value)
        assert f"is of the kind '{kind}'" in text and "\n" not in text
        assert "run `Collection.index('eyes')`" in text
        assert sorted(p.name for p in folder.rglob("*")) == before  # nothing of it is lost
    with IndexWriter(folder, 32) as writer:
        writer.append(rows)
        writer.finish("sketch", {})
    assert open_index(folder).meta.rows == 600
    assert len(list(folder.iterdir())) == 2  # the former build is gone
