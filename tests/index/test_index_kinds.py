import faiss
import pytest

from ris.index import kinds
from ris.index.approximate import ApproximateIndex
from ris.index.vectors import Vectors

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
    assert kinds.choose_kind(rows, row_bytes, dims, memory) == kind


def test_chosen_kind_fits_the_memory_it_was_chosen_for():
    for memory in (100 << 20, 150 << 20, 500 << 20, GB, 8 * GB):
        kind = kinds.choose_kind(1_000_000, 9216, 6752, memory)
        assert kinds.estimate_bytes(kind, 1_000_000, 6752) <= memory


def test_estimates_are_ordered_and_grow_with_the_rows():
    exact, sketch, flat, ivf, hnsw, pq = (
        kinds.estimate_bytes(kind, 1_000_000, 4512) for kind in kinds.KINDS
    )
    assert exact < pq < sketch < ivf < hnsw < flat
    assert flat >= 1_000_000 * 4512 * 4
    for kind in kinds.KINDS[1:]:
        sizes = [kinds.estimate_bytes(kind, rows, 4512) for rows in (1, 1000, 100_000)]
        assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="unknown index kind 'lsh': one of exact, sketch"):
        kinds.estimate_bytes("lsh", 10, 10)


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 100, 1000, 30_000, 1_000_000])
def test_parameters_are_sane_for_any_number_of_rows(rows):
    lists = kinds.lists(rows)
    assert 1 <= lists <= max(1, rows // 16)
    assert lists <= kinds.training_rows(rows) <= rows
    width = kinds.projected_dims(rows, 6752)
    assert 1 <= width <= min(rows, kinds.PROJECTED_DIMS)
    assert width % kinds.code_bytes(width) == 0
    for kind in ("ivf", "pq"):
        efforts = kinds.efforts(kind, rows)
        assert efforts[0] >= 1 and efforts[-1] == lists and list(efforts) == sorted(efforts)


def test_candidates_grow_with_k():
    assert kinds.candidates(1) == kinds.candidates(10) == kinds.MIN_CANDIDATES
    assert kinds.candidates(50) == 1000
    assert kinds.candidates(50, factor=2) == 2000


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq"])
def test_estimate_covers_the_real_index(kind, tmp_path, random_unit_file):
    rows, dims = 3000, 300
    path, _ = random_unit_file(tmp_path, rows, dims)
    index = ApproximateIndex.build(kind, Vectors(path, rows, dims))
    real = faiss.serialize_index(index._index).nbytes + index.projection.basis.nbytes
    expected = kinds.estimate_bytes(kind, rows, dims) - kinds.BUFFERS
    # Code books (256 KiB for pq) do not grow with the rows; the buffers' share covers them.
    assert 0.6 * expected - (1 << 19) < real < 1.1 * expected + (1 << 19)


@pytest.fixture
def random_unit_file():
    import numpy as np

    def write(folder, rows, dims):
        values = np.random.default_rng(0).standard_normal((rows, dims), dtype=np.float32)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        path = folder / "vectors.f16"
        path.write_bytes(values.astype("<f2").tobytes())
        return path, values

    return write
