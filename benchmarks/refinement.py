"""Settings of the steps that follow the encoder, side by side on a few photos.

    python -m benchmarks.refinement photos/ --n 12 --try rate=0.03,deviation_rate=0.3 --try steps=45

Each --try changes some values of `ris.ingest.inversion.optimisation.REFINEMENT` (30 steps); without
any, the shipped ones are measured beside the encoder alone and 60 and 120 steps from the mean code.
Pictures are the 128 px read-out's, so figures differ from those of `benchmarks.inversion_fidelity`.
"""

from __future__ import annotations

import ast
import dataclasses
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.arguments import parser_of
from benchmarks.inversion_fidelity import from_mean, read, refined, spread
from benchmarks.measures.identity import FaceResIdentity
from benchmarks.measures.measure import compare_all, describe_all
from benchmarks.measures.pixels import FeatureDistance, PixelError
from ris.data.models.shipped import load_generator
from ris.evaluate.markdown import markdown_head, markdown_row
from ris.ingest.inversion.encoder_inverter import load_encoder_inverter
from ris.ingest.inversion.optimisation import REFINEMENT, OptimisationConfig, load_inverter
from ris.memory import keep_freed_memory

STEPS = 30
FROM_MEAN = (60, 120)


def settings(text: str) -> OptimisationConfig:
    """``rate=0.05,warmup=4`` as changes of the shipped refinement."""
    call = ast.parse(f"f({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    changes = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    return dataclasses.replace(REFINEMENT, **({"steps": STEPS} | changes))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a Markdown table, a line a setting."""
    parser = parser_of(__doc__)
    parser.add_argument("photos", help="folder, .txt list or pattern of aligned photos")
    parser.add_argument("--n", type=int, default=12, help="photos, spread evenly (0: all)")
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar="SETTINGS")
    args = parser.parse_args(arguments)
    generator = load_generator()
    encoder = load_encoder_inverter(generator)
    judge = load_inverter(generator, steps=0)
    photos = torch.cat([read(path) for path in spread(args.photos, args.n)])
    measures = [FaceResIdentity(), FeatureDistance(), PixelError()]
    described = [describe_all(measures, photo[None]) for photo in photos]

    def line(name: str, invert: Callable[[torch.Tensor], torch.Tensor]) -> None:
        begin = time.perf_counter()
        codes = invert(photos)
        seconds = (time.perf_counter() - begin) / len(codes)
        with torch.no_grad():
            pictures = [judge.picture(code[None]).clamp(-1, 1) for code in codes]
        rows = [
            compare_all(measures, known, describe_all(measures, picture))
            for known, picture in zip(described, pictures, strict=True)
        ]
        means = {n: sum(r[n] or 0.0 for r in rows) / len(rows) for n in rows[0]}
        cells = [name, *(f"{v:.3f}" for v in means.values()), f"{seconds:.2f}"]
        print(markdown_row(cells), flush=True)

    names = [name for measure in measures for name in measure.higher_is_better]
    print(markdown_head(["", *names, "s a face"]), flush=True)
    line("encoder", lambda x: encoder.invert(x).w)
    for text in args.tried or [""]:
        optimiser = load_inverter(generator, config=settings(text))
        line(text or "as shipped", refined("encoder", encoder, optimiser).invert)
    for steps in () if args.tried else FROM_MEAN:
        method = from_mean(load_inverter(generator, steps=steps))
        line(method.name, method.invert)


if __name__ == "__main__":
    keep_freed_memory()
    main()
