"""RIS against EIS: how local a transfer is, how far it goes, and whose face it stays.

    python -m benchmarks.transfer_quality --pairs 100 --models MODELS --out out/transfer
    python -m benchmarks.transfer_quality --store faces/.ris --pairs 100 --models MODELS

Pairs are of generated faces, or of a store's (of different identities where a column `identity`
says so). What was measured is kept in --out and not measured again. Pictures are drawn in
bfloat16 where the processor has it. Needs --models: the folder of the face parser's file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.arguments import parser_of
from benchmarks.measures.pixels import scaled
from benchmarks.measures.transfer_effect import Looked, Looker, locality, movements, overlaps
from ris.choices import TAU
from ris.data.durable import replacing
from ris.data.store import Store
from ris.data.views import run_sql
from ris.edit.editor import Editor, TransferOptions
from ris.edit.subjects import Subject, average_scores, subject
from ris.evaluate.markdown import markdown_table
from ris.face_names import FaceId, Seed
from ris.generators.mobilestylegan import MobileStyleGAN
from ris.ingest.loaded_models import Models
from ris.ingest.sampling import to_picture
from ris.memory import keep_freed_memory
from ris.method.eis import EisOptions
from ris.method.masks import MaskOptions
from ris.method.transfer import ALPHA, direction, move
from ris.precision import fast_dtype
from ris.query.tiles import grid

FEATURES = ("eyes", "nose", "mouth", "hair", "pose")
FIRST_SEED = 20_000
EARLY = "early layers whole"
TILE = 160
Row = dict[str, Any]


def editors(
    models: Models, average: torch.Tensor, rhos: Sequence[float], tau: float
) -> dict[str, Editor]:
    """The methods by name."""
    soft = MaskOptions(tau=tau)
    hard, score = replace(soft, kind="hard"), replace(soft, kind="score")
    options = {
        "RIS soft": TransferOptions(soft, "paper"),
        "RIS hard": TransferOptions(hard, "paper"),
        "RIS score": TransferOptions(score, "paper"),
        "RIS soft, rescaled": TransferOptions(soft, "rescaled"),
        "RIS score, rescaled": TransferOptions(score, "rescaled"),
    }
    for rho in rhos:
        name = f"EIS, rho {rho:g}"
        options[name] = TransferOptions(rule="paper", average=average, eis=EisOptions(rho))
    return {n: Editor(models, o) for n, o in options.items()}


def generated_pairs(models: Models, pairs: int) -> Iterator[tuple[Subject, Subject]]:
    """Pairs of seeds that nothing was fitted on."""
    for i in range(pairs):
        yield (
            subject(Seed(FIRST_SEED + 2 * i), models),
            subject(Seed(FIRST_SEED + 2 * i + 1), models),
        )


def stored_pairs(store: Store, models: Models, pairs: int) -> Iterator[tuple[Subject, Subject]]:
    """Pairs of a store's faces, drawn with a fixed seed."""
    columns = {c.lower() for c in run_sql(store, "SELECT * FROM faces LIMIT 0")[0]}
    who = "identity" if "identity" in columns else "id"
    _, rows = run_sql(store, f"SELECT id, {who} FROM faces ORDER BY id")
    order = np.random.default_rng(0).permutation(len(rows))
    drawn = iter(order.tolist())
    for _ in range(pairs):
        first = next(drawn)
        second = next(i for i in drawn if rows[i][1] != rows[first][1])
        yield tuple(subject(FaceId(rows[i][0]), models, store) for i in (first, second))  # type: ignore[misc]


def early_whole(source: Subject, reference: Subject, editor: Editor) -> torch.Tensor:
    """(1, C): the reference's early layers copied as they are (Fig. 3's rival)."""
    mask = torch.from_numpy(editor.layout.early).float()[None]
    pair = source.sigma[None], reference.sigma[None]
    return move(pair[0], direction(*pair, mask), torch.ones(1))[0]


def measure_pair(
    pair: tuple[Subject, Subject],
    ways: dict[str, Editor],
    features: Sequence[str],
    draw: Any,
    look: Looker,
    alpha: float,
) -> tuple[list[Row], dict[str, torch.Tensor]]:
    """All methods and features of one pair: values, and pictures by name."""
    source, reference = pair
    shown = {"source": draw(source.sigma), "reference": draw(reference.sigma)}
    before, other = look(shown["source"]), look(shown["reference"])
    rows = []
    for feature in features:
        for name, editor in ways.items():
            sigma = editor.transfer(source, reference, {feature: 1.0}, [alpha])[0]
            shown[f"{feature} {name}"] = picture = draw(sigma)
            rows.append(values(before, look(picture), other, feature) | {"method": name})
        if feature == "pose":
            sigma = early_whole(source, reference, next(iter(ways.values())))[0]
            rows.append(values(before, look(draw(sigma)), other, feature) | {"method": EARLY})
    return rows, shown


def values(before: Looked, after: Looked, reference: Looked, feature: str) -> Row:
    """What is kept of one edit."""
    row: Row = {"feature": feature, "moved": movements(before, after, reference, feature)}
    row["identity"] = float(before.identity.flatten() @ after.identity.flatten())
    row["hair"] = overlaps(before, after, reference)
    if feature != "pose":
        row["locality"] = locality(before, after, reference, feature)
    for name, seen in (("source", before), ("after", after), ("reference", reference)):
        row[f"yaw_{name}"] = None if seen.angles is None else float(seen.angles[0])
    return row


def summary(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Feature -> method -> value."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for feature in FEATURES:
        of = [r for r in rows if r["feature"] == feature]
        for method in dict.fromkeys(r["method"] for r in of):
            found.setdefault(feature, {})[method] = _summarise(
                [r for r in of if r["method"] == method], feature
            )
    return found


def _summarise(rows: Sequence[Row], feature: str) -> dict[str, float]:
    entry: dict[str, float] = {"pairs": len(rows)}
    local = [r["locality"] for r in rows if "locality" in r]
    if local:
        entry["locality"] = float(np.mean(local))
    for what in ("landmarks", "blendshapes", "angles"):
        sums = [r["moved"][what] for r in rows if what in r["moved"]]
        if sums:
            along, squares = np.sum(sums, axis=0)
            entry[what] = float(along / squares)
    whole = [r["hair"] for r in rows if None not in r["hair"].values()]
    if feature == "hair" and whole:
        gain = np.mean([h["after"] - h["before"] for h in whole])
        entry["hair IoU"] = float(gain / np.mean([1 - h["before"] for h in whole]))
    if feature == "pose":
        known = [r for r in rows if None not in (r["yaw_after"], r["yaw_reference"])]
        yaws = np.array([[r["yaw_after"], r["yaw_reference"]] for r in known]).T
        entry["yaw correlation"] = (
            float(np.corrcoef(yaws)[0, 1]) if len(known) > 2 else float("nan")
        )
        if whole:
            entry["hair kept"] = float(np.mean([h["kept"] for h in whole]))
    entry["identity"] = float(np.mean([r["identity"] for r in rows]))
    return entry


def as_table(feature: str, found: dict[str, dict[str, float]]) -> str:
    """A Markdown table of one feature."""
    names = list(dict.fromkeys(n for v in found.values() for n in v if n != "pairs"))
    rows = [
        [method, *(f"{entry[n]:.3f}" if n in entry else "-" for n in names)]
        for method, entry in found.items()
    ]
    return markdown_table([feature, *names], rows)


def sheet(
    shown: Sequence[dict[str, torch.Tensor]], feature: str, ways: Sequence[str]
) -> Image.Image:
    """Source, reference, and the feature by every method, a row a pair."""
    names = ["source", "reference", *(f"{feature} {way}" for way in ways)]
    rows = [[to_picture(s[n]) for n in names] for s in shown]
    return grid(rows, columns=[n.removeprefix(f"{feature} ") for n in names])


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--store", type=Path, help="pairs of its faces (default: generated ones)")
    add("--pairs", type=int, default=100)
    add("--features", nargs="+", default=list(FEATURES), choices=FEATURES)
    add("--alpha", type=float, default=ALPHA)
    add("--tau", type=float, default=TAU)
    add("--rho", type=float, nargs="+", default=[EisOptions.rho, 0.3], help="of EIS")
    add("--sheet", type=int, default=8, help="pairs on the sheets")
    add("--models", type=Path, required=True, help="folder with the face parser's TFLite file")
    add("--out", type=Path, default=Path("out/transfer"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints tables, writes values.json, results.json and a sheet for each feature."""
    args = parse_arguments(arguments)
    store = Store.open(args.store) if args.store else None
    models = Models() if store is None else Models.of_store(store)
    generator = models.generator
    dtype = fast_dtype(generator.device)
    if isinstance(generator, MobileStyleGAN) and dtype != torch.float32:
        generator = generator.cast(dtype)

    @torch.no_grad()
    def draw(sigma: torch.Tensor) -> torch.Tensor:
        return generator.render(sigma[None]).float()[0].clamp(-1, 1)

    average = average_scores(models, store)
    ways = editors(models, average, args.rho, args.tau)
    pairs = (
        generated_pairs(models, args.pairs)
        if store is None
        else stored_pairs(store, models, args.pairs)
    )
    args.out.mkdir(parents=True, exist_ok=True)
    made = [
        args.features,
        args.alpha,
        {n: [w.options.rule, repr(w.options.mask), repr(w.options.eis)] for n, w in ways.items()},
        [generator.fingerprint, models.catalogue.fingerprint],
        None if store is None else [str(args.store), store.manifest().state],
    ]
    kept = args.out / "values.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if known.get("made") != made:
        known = {"made": made, "pairs": []}
    look: Looker | None = None
    shown = []
    for i, pair in enumerate(pairs):
        if i < len(known["pairs"]) and i >= args.sheet:
            continue
        look = look or Looker(args.models)
        rows, drawn = measure_pair(pair, ways, args.features, draw, look, args.alpha)
        if i < args.sheet:
            shown.append({n: scaled(picture[None], TILE)[0] for n, picture in drawn.items()})
        if i >= len(known["pairs"]):
            known["pairs"].append(rows)
            with replacing(kept) as temporary:
                temporary.write_text(json.dumps(known), encoding="utf-8")
        print(f"{i + 1}/{args.pairs}", file=sys.stderr, flush=True)
    found = summary([row for rows in known["pairs"][: args.pairs] for row in rows])
    for feature, entry in found.items():
        print(as_table(feature, entry) + "\n")
        if shown:
            sheet(shown, feature, list(ways)).save(args.out / f"{feature}.jpg", quality=90)
    (args.out / "results.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    return found


if __name__ == "__main__":
    keep_freed_memory()
    main()
