"""Are edited faces as much like generated ones as unedited faces are? RIS against EIS.

    python -m benchmarks.sampled_store --n 2500 --store out/sampled2500/.ris
    python -m benchmarks.edited_faces --store out/sampled2500/.ris --faces 1250 --out out/frechet

Sets of faces: a reference set of other seeds; the first faces of the store as they are; the same
faces with hair, then with the mouth, of faces of the store's second half, by RIS and by EIS. Each
set is compared with the reference set (`ris.evaluate.frechet`). Pictures are the 128 px ones of the
read-out (`ris.generators.readout`), in bfloat16 where the processor has it, not full renders.
Embeddings are kept in --out, one file a set, and not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import parser_of
from ris.data.row_tensors import row_tensors
from ris.data.shards import vectors
from ris.data.store import Store
from ris.edit.editor import Editor, TransferOptions
from ris.edit.subjects import Subject, average_scores, edit_embedder, edit_scores
from ris.evaluate.embeddings import Embeddings, Extractor, PooledHead
from ris.evaluate.frechet import (
    SHARE,
    FrechetResult,
    compare,
    frechet_distance,
    part_moments,
)
from ris.evaluate.markdown import markdown_table
from ris.evaluate.moments import Moments
from ris.evaluate.plots import frechet_plot
from ris.ingest.inversion.optimisation import OptimisationInverter, load_inverter
from ris.ingest.loaded_models import Models
from ris.ingest.sampling import sample_w
from ris.memory import keep_freed_memory
from ris.method.transfer import ALPHA

FEATURES = ("hair", "mouth")
FIRST_SEED = 100_000
"""Seeds of the reference set start here; the store's start at 0."""
CHUNK = 16
SAVE_EVERY = 10 * CHUNK
FOLDS = 5
"""Disjoint parts of the pairs over which RIS and EIS are compared."""
REFERENCE = "reference"
UNEDITED = "unedited"
Draw = Callable[[torch.Tensor], torch.Tensor]
Styles = Callable[[int], Iterator[torch.Tensor]]
"""From which face on -> (C,) style coefficients of that face and the following ones."""


def subjects(store: Store, models: Models, start: int) -> Iterator[Subject]:
    """The store's faces from row `start` on."""
    embedder = edit_embedder(models)
    row = 0
    for batch in store.batches(["id", "w", "sigma", "scores"]):
        if row + len(batch) > start:
            part = batch.slice(max(start - row, 0))
            codes = torch.tensor(vectors(part, "w")).view(
                len(part), -1, embedder.generator.latent_size
            )
            names = part.column("id").to_pylist()
            tensors = row_tensors(part, store.settings)
            for name, code, sigma, scores in zip(names, codes, *tensors, strict=True):
                yield Subject(name, sigma, edit_scores(code, scores, embedder))
        row += len(batch)


def sets_of_faces(
    store: Store, models: Models, faces: int, features: Sequence[str], alpha: float
) -> dict[str, Styles]:
    """The sets by name, as style coefficients."""
    average = average_scores(models, store)
    half = store.manifest().rows // 2
    methods = {"RIS": TransferOptions(), "EIS": TransferOptions(average=average)}

    def sampled(start: int) -> Iterator[torch.Tensor]:
        for seed in range(FIRST_SEED + start, FIRST_SEED + faces):
            with torch.no_grad():
                yield models.generator.sigma(sample_w(models.generator, seed)[None])[0]

    def plain(start: int) -> Iterator[torch.Tensor]:
        return (s.sigma for s in islice(subjects(store, models, start), faces - start))

    def edited(editor: Editor, feature: str) -> Styles:
        def styles(start: int) -> Iterator[torch.Tensor]:
            sources = islice(subjects(store, models, start), faces - start)
            pairs = zip(sources, subjects(store, models, half + start), strict=False)
            return (editor.transfer(a, b, {feature: 1.0}, [alpha])[0] for a, b in pairs)

        return styles

    found: dict[str, Styles] = {REFERENCE: sampled, UNEDITED: plain}
    for feature in features:
        for name, options in methods.items():
            editor = Editor(models, options)
            found[f"{feature}, {name}"] = edited(editor, feature)
    return found


def features_of(
    path: Path, name: str, styles: Styles, faces: int, draw: Draw, network: Extractor
) -> Embeddings:
    """A set's features, from the file where they are there already."""
    rows = np.empty((0, network.dim), np.float32)
    if path.exists() and (kept := Embeddings.load(path)).extractor == network.name:
        rows = kept.rows[:faces]
    coming = styles(len(rows)) if len(rows) < faces else iter(())
    unsaved = 0
    while chunk := list(islice(coming, CHUNK)):
        rows = np.concatenate([rows, network(torch.cat([draw(sigma[None]) for sigma in chunk]))])
        unsaved += len(chunk)
        if unsaved >= SAVE_EVERY or len(rows) == faces:
            Embeddings(name, network.name, rows).save(path)
            print(f"{name}: {len(rows)}/{faces}", file=sys.stderr, flush=True)
            unsaved = 0
    return Embeddings(name, network.name, rows)


def advantage(
    reference: Embeddings, ris: Embeddings, eis: Embeddings, folds: int = FOLDS
) -> tuple[float, float]:
    """How much nearer RIS's edits are to the reference set than EIS's of the same pairs.

    The pairs are split into disjoint folds; each gives the difference of two plain distances
    from equally many faces, so that their bias cancels.

    Returns:
        mean over the folds, and its standard error.
    """
    whole = _moments(reference.rows)
    found = [
        frechet_distance(whole, _moments(eis.rows[part]))
        - frechet_distance(whole, _moments(ris.rows[part]))
        for part in np.array_split(np.arange(len(ris.rows)), folds)
    ]
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(folds))


def _moments(rows: np.ndarray) -> Moments:
    moments = Moments(rows.shape[1])
    moments.add(rows)
    return moments


def as_table(results: dict[str, FrechetResult]) -> str:
    """A Markdown table of the sets' distances to the reference set."""
    rows = [
        [name, f"{r.plain:.4f}", f"{r.line.intercept:.4f} ± {r.line.error:.4f}"]
        for name, r in results.items()
    ]
    return markdown_table(["set", "from all pictures", "extrapolated"], rows)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--store", type=Path, required=True, help="of sampled faces, twice --faces at least")
    add("--faces", type=int, default=1250, help="in every set")
    add("--features", nargs="+", default=list(FEATURES))
    add("--alpha", type=float, default=ALPHA)
    add("--share", type=float, default=SHARE, help="the smallest part's of a set")
    add("--seed", type=int, default=0, help="draws the parts")
    add("--plot", type=Path, help="figure to write (.png or .svg)")
    add("--out", type=Path, default=Path("out/frechet"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Draws what is missing, prints the table, writes results.json."""
    args = parse_arguments(arguments)
    store = Store.open(args.store)
    models = Models.of_store(store)
    store.settings.check(models.embedder.settings(), store.folder)
    rows = store.manifest().rows
    if rows < 2 * args.faces:
        raise SystemExit(f"{args.store} has {rows} faces, not {2 * args.faces}")
    inverter: OptimisationInverter = load_inverter(models.generator)
    network = PooledHead(inverter.backbone)

    @torch.no_grad()
    def draw(sigma: torch.Tensor) -> torch.Tensor:
        return inverter.readout(sigma).float().clamp(-1, 1)

    # what a set's file depends on is in its folder's name
    made = f"alpha{args.alpha:g}-{store.manifest().state[:12]}"
    folder = args.out / made
    folder.mkdir(parents=True, exist_ok=True)
    sets = {}
    for name, styles in sets_of_faces(store, models, args.faces, args.features, args.alpha).items():
        path = folder / f"{name.replace(', ', '-')}.npz"
        sets[name] = features_of(path, name, styles, args.faces, draw, network)
    moments = {
        name: part_moments(source, share=args.share, seed=args.seed)
        for name, source in sets.items()
    }
    results = {
        name: compare(sets[REFERENCE], source, (moments[REFERENCE], moments[name]))
        for name, source in sets.items()
        if name != REFERENCE
    }
    print(f"features: {network.name}; {args.faces} faces a set\n\n{as_table(results)}\n")
    found: dict[str, Any] = {name: result.to_dict() for name, result in results.items()}
    for feature in args.features:
        mean, error = advantage(sets[REFERENCE], sets[f"{feature}, RIS"], sets[f"{feature}, EIS"])
        print(f"{feature}: EIS less RIS {mean:.3f} ± {error:.3f}, {FOLDS} folds")
        found[f"{feature}, EIS less RIS"] = {"mean": mean, "error": error, "folds": FOLDS}
    (args.out / "results.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    if args.plot:
        frechet_plot(results, args.plot)
    return found


if __name__ == "__main__":
    keep_freed_memory()
    main()
