"""Likeness and speed of the encoder, of its refinement, and of optimisation alone.

    python -m benchmarks.inversion_fidelity photos/ more/ --models MODELS --n 50 --out out/inversion

Each argument is a folder (or list) of FFHQ-cropped photos and becomes a table; measures are those
of `benchmarks.measures`. What was computed is kept in the --out folder, by photo, method and the
fingerprint of what made it, so a run that was interrupted goes on, and one with more photos or
methods adds to it. Writes results.json and sheet.jpg there: photos above, methods below.
Needs the packages of the extra `bench`, and --models: the folder of the face parser's file.

    python -m benchmarks.inversion_fidelity photos/ --device cuda --out out/inversion

without --models inverts and measures nothing: codes are kept in out/inversion/codes, so that a
machine with a GPU can make what another measures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.arguments import parser_of
from benchmarks.measures import Measure, compare_all, describe_all, standard
from benchmarks.measures.codes import Codes
from benchmarks.measures.paired_results import SECONDS, THUMBNAIL, Results, as_table, summary
from benchmarks.measures.pixels import scaled
from ris.data.durable import file_sha256
from ris.data.models.asset_files import load_tensors
from ris.data.models.shipped import load_generator
from ris.errors import ModelFileError, RisError
from ris.generators.mobilestylegan import MobileStyleGAN
from ris.images import from_pixels, to_pixels
from ris.ingest.inversion.contract import Inverter
from ris.ingest.inversion.encoder_inverter import EncoderInverter, load_encoder_inverter, unpack
from ris.ingest.inversion.inverters import RefinedInverter
from ris.ingest.inversion.optimisation import REFINEMENT, OptimisationInverter, load_inverter
from ris.ingest.pictures.decode import decode_aligned
from ris.ingest.sources.sources import find_photos
from ris.memory import keep_freed_memory

PHOTO_SIZE = 512
"""Pixels at which photos are given to the inverters and compared."""
REFINED, FROM_MEAN = (10, 30, 100), (60, 120)
"""Steps of optimisation from the first codes, and from the mean code."""
BATCH = 16
"""Photos at once when the speed of the first codes is measured."""


@dataclass(frozen=True)
class Method:
    """A way to invert: (B, 3, S, S) photos -> (B, L, 512) codes.

    Attributes:
        name: what tables and `--methods` call it.
        fingerprint: hash of everything that changes a code.
        invert: does it.
    """

    name: str
    fingerprint: str
    invert: Callable[[torch.Tensor], torch.Tensor]


def first_inverter(generator: MobileStyleGAN, file: Path | None) -> Inverter:
    """The encoder in `file`, or the shipped one, or the linear guess where none is shipped."""
    optimiser = load_inverter(generator, steps=0)
    if file is not None:
        tensors, metadata = load_tensors(file)
        net = unpack(tensors, metadata).to(generator.device)
        return EncoderInverter(generator, net, optimiser.pspace, file_sha256(file)[:16])
    try:
        return load_encoder_inverter(generator)
    except ModelFileError as e:
        print(f"{e}: the linear guess stands in for it", file=sys.stderr)
        return optimiser


def all_methods(generator: MobileStyleGAN, first: Inverter) -> list[Method]:
    """First codes, refined by 10, 30 and 100 steps, and 60 and 120 steps from the mean code."""
    name = first.name if isinstance(first, EncoderInverter) else "guess"
    methods = [Method(name, first.fingerprint, lambda x: first.invert(x).w)]
    for steps in REFINED:
        methods.append(
            refined(name, first, load_inverter(generator, steps=steps, config=REFINEMENT))
        )
    return methods + [from_mean(load_inverter(generator, steps=steps)) for steps in FROM_MEAN]


def refined(name: str, first: Inverter, optimiser: OptimisationInverter) -> Method:
    """The first codes, taken further."""
    inverter = RefinedInverter(first, optimiser)
    steps = optimiser.config.steps
    return Method(f"{name} + {steps}", inverter.fingerprint, lambda x: inverter.invert(x).w)


def from_mean(optimiser: OptimisationInverter) -> Method:
    """Optimisation from the code of the mean face."""
    mean = optimiser.pspace.to_w(torch.zeros_like(optimiser.pspace.mean)[None])

    def invert(photos: torch.Tensor) -> torch.Tensor:
        return optimiser.invert(photos, start=mean.expand(len(photos), -1)).w

    return Method(f"mean + {optimiser.config.steps}", f"mean/{optimiser.fingerprint}", invert)


def read(path: Path) -> torch.Tensor:
    """(1, 3, 512, 512) in [-1, 1]; of a picture that is not square, its middle."""
    return from_pixels(decode_aligned(path, PHOTO_SIZE).pixels[None])


def inverted(
    photos: Mapping[str, torch.Tensor], method: Method, codes: Codes
) -> dict[str, tuple[torch.Tensor, float]]:
    """Code and seconds of each photo, by key; what is not kept yet is inverted, all at once."""
    missing = [key for key in photos if codes.get(key, method) is None]
    if missing:
        begin = time.perf_counter()
        found = method.invert(torch.cat([photos[key] for key in missing]))
        codes.put(missing, method, found, (time.perf_counter() - begin) / len(missing))
    known = {key: codes.get(key, method) for key in photos}
    return {key: code for key, code in known.items() if code is not None}


def measure(
    paths: Sequence[Path],
    methods: Sequence[Method],
    measures: Callable[[], Sequence[Measure]] | None,
    generator: MobileStyleGAN,
    results: Results,
    codes: Codes,
    batch: int,
) -> list[str]:
    """Fills in what is missing, `batch` photos at a time; returns the photos' keys.

    `measures` is called once, and only if there is something to measure; None: codes alone.
    """
    keys = [file_sha256(path) for path in paths]
    loaded: Sequence[Measure] | None = None
    for start in range(0, len(paths), batch):
        chunk = range(start, min(start + batch, len(paths)))
        todo = [(i, m) for i in chunk for m in methods if results.get(keys[i], m) is None]
        if not todo:
            continue
        photos = {keys[i]: read(paths[i]) for i in chunk}
        described: dict[str, Any] = {}
        if measures is not None:
            loaded = measures() if loaded is None else loaded
            described = {key: describe_all(loaded, photo) for key, photo in photos.items()}
        for method in methods:
            missing = {keys[i]: photos[keys[i]] for i, m in todo if m is method}
            found = inverted(missing, method, codes)
            for key, (code, seconds) in found.items() if loaded is not None else ():
                with torch.no_grad():
                    sigma = generator.sigma(code[None].to(generator.device))
                    render = generator.render(sigma).clamp(-1, 1).cpu()
                other = describe_all(loaded or (), scaled(render, PHOTO_SIZE))
                values = compare_all(loaded or (), described[key], other) | {SECONDS: seconds}
                results.put(key, method, values, render)
            if found:
                seconds = sum(s for _, s in found.values()) / len(found)
                done = f"{chunk.stop}/{len(paths)}"
                print(f"{done} {method.name}: {seconds:.2f} s a face", file=sys.stderr, flush=True)
    return keys


def batched_seconds(inverter: Inverter, photos: Sequence[torch.Tensor], runs: int = 3) -> float:
    """Seconds a face where all `photos` are given at once, the best of some runs."""
    batch = torch.cat(list(photos))
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        inverter.invert(batch)
        times.append((time.perf_counter() - begin) / len(batch))
    return min(times)


def sheet(
    photos: Sequence[tuple[Path, str]],
    methods: Sequence[Method],
    results: Results,
    columns: int = 7,
) -> Image.Image:
    """Photos (path, key) in a row, below them each method's reconstructions, row after row."""
    tiles = [
        [Image.fromarray(to_pixels(scaled(read(path), THUMBNAIL)[0]))]
        + [Image.open(results.thumbnail(key, m)) for m in methods]
        for path, key in photos
    ]
    height = THUMBNAIL * (1 + len(methods))
    bands = -(-len(tiles) // columns)
    picture = Image.new(
        "RGB", (THUMBNAIL * min(columns, len(tiles)), (height + 8) * bands), "white"
    )
    for i, column in enumerate(tiles):
        band, x = divmod(i, columns)
        for j, tile in enumerate(column):
            picture.paste(tile, (x * THUMBNAIL, band * (height + 8) + j * THUMBNAIL))
    return picture


def spread(argument: str, n: int) -> list[Path]:
    """`n` of the photos, evenly over their order; 0: all."""
    found = list(find_photos(argument))
    if n <= 0 or n >= len(found):
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, n).round().astype(int)]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("photos", nargs="+", help="folder, .txt list or pattern of aligned photos")
    add("--models", type=Path, help="folder with the face parser's TFLite file; none: invert only")
    add("--n", type=int, default=0, help="photos of each argument, spread evenly (0: all)")
    add("--encoder", type=Path, help="an encoder's safetensors file (default: the shipped one)")
    add("--methods", nargs="+", help="only these (names as in the table; default: all)")
    add("--batch", type=int, default=torch.get_num_threads(), help="photos inverted at once")
    add("--sheet", type=int, default=28, help="photos on the sheet, the first argument's first")
    add("--sheet-methods", nargs="+", help="default: first, refined by 30, 120 from the mean")
    add("--device", default="cpu", help="where photos are inverted, such as cuda")
    add("--out", type=Path, default=Path("out/inversion"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints tables and writes results.json and sheet.jpg; returns what it writes."""
    args = parse_arguments(arguments)
    generator = load_generator()
    if not isinstance(generator, MobileStyleGAN):
        raise RisError(f"there is no inverter for {generator.name}")
    generator = generator.to(torch.device(args.device))
    first = first_inverter(generator, args.encoder)
    methods = all_methods(generator, first)
    name = methods[0].name
    if args.methods:
        unknown = set(args.methods) - {m.name for m in methods}
        if unknown:
            known = ", ".join(m.name for m in methods)
            raise RisError(f"no method {', '.join(sorted(unknown))}; known: {known}")
        methods = [m for m in methods if m.name in args.methods]
    results, codes = Results(args.out), Codes(args.out)
    measures = None if args.models is None else lambda: standard(args.models)
    report: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "methods": {m.name: m.fingerprint for m in methods},
        "sets": {},
    }
    shown: list[tuple[Path, str]] = []
    for argument in args.photos:
        photos = spread(argument, args.n)
        keys = measure(photos, methods, measures, generator, results, codes, args.batch)
        if measures is None:
            continue
        found = summary(keys, methods, results)
        report["sets"][argument] = {"photos": len(photos), "values": found}
        print(as_table(argument, found, len(photos)) + "\n")
        shown += zip(photos, keys, strict=True)
    if measures is None:
        return report
    report["batched_seconds"] = {
        name: batched_seconds(first, [read(path) for path, _ in shown[:BATCH]])
    }
    print(
        f"{name}, {min(BATCH, len(shown))} at once: {report['batched_seconds'][name]:.3f} s a face"
    )
    (args.out / "results.json").write_text(json.dumps(report, indent=2), encoding="utf-8")
    wanted = args.sheet_methods or [name, f"{name} + 30", "mean + 120"]
    on_sheet = [m for m in methods if m.name in wanted]
    sheet(shown[: args.sheet], on_sheet, results).save(args.out / "sheet.jpg", quality=90)
    print(args.out / "sheet.jpg")
    return report


if __name__ == "__main__":
    keep_freed_memory()
    try:
        main()
    except RisError as e:
        sys.exit(f"inversion: {e}")
