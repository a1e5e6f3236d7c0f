"""A store of faces that are never rendered, for measurements on many faces.

    python -m benchmarks.sampled_store --n 1000 --store out/sampled/.ris
    ris eval trsi --store out/sampled/.ris

Codes are those of `ris sample` (seed 0 onward, truncation 0.7); their style coefficients and
contribution scores are the real generator's. Only the pictures are left out, which take most of
the time of `ris sample`. A run that was stopped goes on where it was.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.arguments import parser_of
from ris.data.shards import GIVEN, FaceRow
from ris.data.store import Store
from ris.ingest.loaded_models import Models
from ris.ingest.sampling import TRUNCATION, sample_w

BATCH = 64


def fill(store: Store, models: Models, n: int, truncation: float) -> None:
    """Adds the faces of seeds 0 .. n - 1 that the store lacks."""
    embedder = models.embedder
    rows: list[FaceRow] = []
    known = store.known()
    for seed in range(n):
        name = f"seed{seed:08d}"
        if not known.has_id(name):
            face = embedder.embed(sample_w(models.generator, seed, truncation))
            rows.append(
                FaceRow(
                    id=name,
                    path=f"{name}.jpg",
                    width=0,
                    height=0,
                    file_size=0,
                    file_mtime_ns=0,
                    inverter=GIVEN,
                    inversion_error=None,
                    w=face.w.numpy(),
                    sigma=face.sigma.numpy(),
                    scores=face.scores.numpy(),
                )
            )
        if rows and (len(rows) == BATCH or seed == n - 1):
            store.append(rows)
            rows = []
            print(f"{seed + 1} faces", flush=True)
    store.compact()


def main() -> None:
    """Command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--truncation", type=float, default=TRUNCATION)
    parser.add_argument("--store", type=Path, default=Path("out/sampled/.ris"))
    options = parser.parse_args()
    models = Models()
    store = Store.create(options.store, models.embedder.settings())
    fill(store, models, options.n, options.truncation)


if __name__ == "__main__":
    main()
