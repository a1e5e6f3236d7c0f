"""The FAISS kinds on masked vectors of the real generator's styles, against the exact scan."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from ris.data.row_tensors import row_tensors
from ris.errors import StoreError
from ris.index import KINDS, faiss_kinds
from ris.index.approximate import Truth
from ris.index.directory import open_index
from ris.index.exact import Exact
from ris.index.faiss_kinds import Ivf
from ris.index.files import FAISS, PROJECTION
from ris.index.kind import Effort, Efforts, Recall
from ris.index.vectors import Vectors
from ris.index.writing import IndexWriter
from ris.method.masks import feature_mask

ROWS = 3500
FAISS_KINDS = [kind for kind in KINDS if kind != "exact"]
APPROXIMATE = ["ivf", "hnsw"]


@pytest.fixture(scope="module")
def masked(generator, filled):
    """(N, D) float32: styles of N faces under the eye masks of 60, drawn at random.

    Styles, normalised per layer, and masks are both the real generator's; pairing them anew
    gives many rows without as many passes through the generator.
    """
    rng = np.random.default_rng(0)
    with torch.no_grad():
        w = generator.mapping(torch.randn(ROWS, 512, generator=torch.Generator().manual_seed(0)))
        mean = generator.mean_w()
        sigma = generator.sigma(mean + 0.8 * (w - mean)).numpy()
    for part in generator.layout.slices[7:13]:
        layer = sigma[:, part]
        layer -= layer.mean()
        layer /= layer.std()
    settings = filled.settings
    scores = torch.cat([row_tensors(b, settings)[1] for b in filled.batches(["sigma", "scores"])])
    q = feature_mask(scores, settings.covered, settings.classes, "eyes").numpy()
    part = slice(generator.layout.slices[7].start, generator.layout.slices[12].stop)
    return (sigma[:, part] * q[rng.integers(len(q), size=ROWS), part]).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def faiss_at_any_size():
    """Few rows would be scanned exactly; here FAISS is to show what it finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faiss_kinds, "CANDIDATE_SHARE", 2)
        yield


@pytest.fixture(scope="module")
def opened(masked, tmp_path_factory):
    """An opened index of every kind over the same rows."""
    folder = tmp_path_factory.mktemp("index")
    for kind in KINDS:
        with IndexWriter(folder / kind, masked.shape[1]) as writer:
            for start in range(0, ROWS, 1000):
                writer.append(masked[start : start + 1000])
            writer.finish(kind, {"feature": "eyes"})
    return {kind: open_index(folder / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def true_scores(masked):
    """(60,) rows as queries and (60, N) cosines of the stored vectors with them."""
    asked = np.random.default_rng(7).choice(ROWS, 60, replace=False)
    unit = masked / np.linalg.norm(masked.astype(np.float64), axis=1, keepdims=True)
    stored = unit.astype(np.float32).astype(np.float16).astype(np.float32)
    return asked, np.minimum(1, unit[asked].astype(np.float32) @ stored.T)


@pytest.mark.parametrize("kind", FAISS_KINDS)
def test_recall_at_both_ends(masked, true_scores, opened, kind):
    asked, all_true = true_scores
    ends = opened[kind].index.search(masked[asked] * 3, 10)
    shares = np.zeros((60, 2))
    for i, scores in enumerate(all_true):
        order = np.argsort(-scores, kind="stable")
        near, far = ends.nearest.rows[i], ends.furthest.rows[i]
        assert len(set(near)) == len(set(far)) == 10
        shares[i, 0] = np.mean(scores[near] >= scores[order[9]] - 1e-6)
        shares[i, 1] = np.mean(scores[far] <= scores[order[-10]] + 1e-6)
        np.testing.assert_allclose(ends.nearest.scores[i], scores[near], atol=2e-6)
        np.testing.assert_allclose(ends.furthest.scores[i], scores[far], atol=2e-6)
        assert (np.diff(ends.nearest.scores[i]) <= 0).all()
        assert (np.diff(ends.furthest.scores[i]) >= 0).all()
    assert (shares.mean(axis=0) >= 0.95).all(), shares.mean(axis=0)
    reported = opened[kind].meta.recall
    assert reported.nearest >= 0.95 and reported.furthest >= 0.95


@pytest.mark.parametrize("kind", FAISS_KINDS)
def test_rows_found_have_the_very_scores_of_the_exact_index(masked, opened, kind):
    exact = opened["exact"].index.search(masked[:5], 20)
    ends = opened[kind].index.search(masked[:5], 20)
    for hits, true in zip(ends, exact, strict=True):
        for i in range(5):
            known = dict(zip(true.rows[i], true.scores[i], strict=True))
            found = {r: s for r, s in zip(hits.rows[i], hits.scores[i], strict=True) if r in known}
            assert len(found) >= 17
            assert all(known[r] == s for r, s in found.items())
    query = masked[3]
    expected = opened["exact"].index.all_scores(query)
    assert np.array_equal(opened[kind].index.all_scores(query), expected)


def test_furthest_is_the_nearest_of_the_negated_query(masked, opened):
    ends = opened["exact"].index.search(masked[:4], 12)
    negated = opened["exact"].index.search(-masked[:4], 12)
    assert np.array_equal(ends.furthest.rows, negated.nearest.rows)
    assert np.array_equal(ends.furthest.scores, -negated.nearest.scores)


@pytest.mark.parametrize("share", [0.5, 0.01])  # through FAISS's selector; by the exact scan
@pytest.mark.parametrize("kind", FAISS_KINDS)
def test_filter(masked, opened, kind, share):
    allowed = np.random.default_rng(1).random(ROWS) < share
    queries = masked[:20]
    ends = opened[kind].index.search(queries, 10, allowed=allowed)
    exact = opened["exact"].index.search(queries, 10, allowed=allowed)
    for hits, true in zip(ends, exact, strict=True):
        assert allowed[hits.rows].all()
        found = [len(set(a) & set(b)) for a, b in zip(hits.rows, true.rows, strict=True)]
        assert np.mean(found) >= 9.5


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_search_effort_matters_and_is_tuned(opened, kind):
    """The tuned index searches in earnest: with the least effort it would find less."""
    index = opened[kind].index
    truth = Truth.measure(index.vectors, queries=40, seed=3)
    tuned, kept = truth.recall(index), index.efforts
    try:
        index.efforts, index.complete = Efforts(Effort(1), Effort(1)), False
        hasty = truth.recall(index)
        index.complete = True
        completed = index.search(truth.queries, 50)
    finally:
        index.efforts, index.complete = kept, True
    assert min(tuned.nearest, tuned.furthest) >= 0.95
    assert (completed.nearest.rows >= 0).all() and (completed.furthest.rows >= 0).all()
    if kind == "hnsw":  # its walk is never narrower than the candidates, 220 of 3,500 rows
        assert hasty.nearest <= tuned.nearest and hasty.furthest <= tuned.furthest
    else:
        assert hasty.nearest < tuned.nearest - 0.1 and hasty.furthest < tuned.furthest - 0.1


def test_recall_counts_what_is_missed(opened):
    """An index that only knows even rows: recall is the share of even rows among the true."""

    class Half(Exact):
        def search(self, queries, k, *, allowed=None):
            return super().search(queries, k, allowed=np.arange(ROWS) % 2 == 0)

    vectors = opened["exact"].index.vectors
    truth = Truth.measure(vectors, queries=30, seed=1)
    got = truth.recall(Half(vectors))
    exact = Exact(vectors).search(truth.queries, 11)
    near = [
        [r for r in rows if r != own][:10]
        for rows, own in zip(exact.nearest.rows, truth.own, strict=True)
    ]
    assert got.nearest == pytest.approx(np.mean(np.array(near) % 2 == 0))
    assert got.furthest == pytest.approx(np.mean(exact.furthest.rows[:, :10] % 2 == 0))
    assert Truth.measure(vectors).recall(opened["exact"].index) == Recall(1, 1, 10, 64)


@pytest.mark.parametrize("kind", FAISS_KINDS)
@pytest.mark.parametrize("rows", [1, 2, 20, 300])
def test_few_rows_work_silently(masked, tmp_path, kind, rows, capfd, monkeypatch):
    monkeypatch.setattr(faiss_kinds, "CANDIDATE_SHARE", 0.1)
    part = masked[:rows].copy()
    part[rows // 2 :] = part[0]  # half of them copies
    with IndexWriter(tmp_path / "eyes", part.shape[1]) as writer:
        writer.append(part)
        report = writer.finish(kind, {})
    ends = open_index(tmp_path / "eyes").index.search(part[:2], 10)
    expected = Exact(
        Vectors(next(tmp_path.glob("eyes/*/vectors.f16")), rows, part.shape[1])
    ).search(part[:2], 10)
    for hits, true in zip(ends, expected, strict=True):
        assert np.array_equal(hits.rows, true.rows)
        assert np.array_equal(hits.scores, true.scores, equal_nan=True)
    assert report.kind == kind and report.recall.nearest == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [FAISS, PROJECTION])
def test_a_foreign_faiss_part_is_refused(masked, tmp_path, name):
    for folder, rows in (("eyes", 20), ("nose", 30)):
        with IndexWriter(tmp_path / folder, masked.shape[1]) as writer:
            writer.append(masked[:rows])
            writer.finish("ivf", {})
    mine, other = (next(tmp_path.glob(f"{f}/*/{name}")) for f in ("eyes", "nose"))
    mine.write_bytes(other.read_bytes())
    with pytest.raises(
        StoreError, match=rf"{name}.*run `Collection.index\('eyes', rebuild=True\)`"
    ):
        open_index(tmp_path / "eyes")


def test_build_repeats_the_projection(opened, tmp_path):
    vectors = opened["ivf"].index.vectors
    first, second = (Ivf.build(vectors, tmp_path)[0].projection.basis for _ in range(2))
    np.testing.assert_allclose(first, second, atol=1e-5)
    np.testing.assert_allclose(first.T @ first, np.eye(first.shape[1]), atol=1e-5)


def test_without_faiss_the_message_names_the_way_out(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['faiss'] = None\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from ris.index.writing import IndexWriter\n"
        "from ris.errors import RisError\n"
        "with IndexWriter(Path(sys.argv[1]), 8) as writer:\n"
        "    writer.append(np.eye(8))\n"
        "    try: writer.finish('hnsw', {})\n"
        "    except RisError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "eyes"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.stdout == (
        "this index kind needs FAISS: run `pip install faiss-cpu`, or use `kind='exact'`\n"
    ), run.stderr
    assert not (tmp_path / "eyes").exists()
