"""Contribution scores of a face: engines side by side, and StyleGAN2 against the plain formula.

    python -m benchmarks.scores                     # everything, about five minutes
    python -m benchmarks.scores --only engines --faces 8 --json scores.json

Every line is a process of its own, so that its peak memory is its own; the lines of a table take
turns for ``--rounds`` rounds, and the best round counts. Two limits stand beside each: what the
arithmetic takes at the speed of torch's matrix product, and what must move through memory at the
speed of a copy, both measured in the same run and given for one core or for all.

The plain formula keeps every activation of StyleGAN2-1024 (random weights), resizes the masks to
each and multiplies A^2 by U as (B, K, C, H, W). Its masks are compared with ours.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.arguments import add_json, parser_of, write_json
from ris.evaluate.markdown import markdown_table
from ris.generators.generator import Generator

Row = dict[str, Any]
STYLEGAN2 = ("plain formula", "all layers", "up to 64 px")
WAYS = (("1 thread", 1, 1), ("2 threads", 2, 1), ("2 workers", 1, 2))  # threads, workers


def seconds(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Elapsed seconds and seconds of processors of one call, best of some."""
    found = []
    for _ in range(times):
        begin, used = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - begin, time.process_time() - used))
    return min(x for x, _ in found), min(x for _, x in found)


def machine(threads: int) -> Row:
    """GFLOP/s of so many cores with a matrix product each, by the best of three shapes and the time
    of processors, as other programs may be about; GB/s of a copy that they share."""
    torch.set_num_threads(1)
    speeds = []
    for rows, depth, columns in ((1024, 1024, 1024), (1024, 512, 512), (4096, 512, 512)):
        a, b, made = torch.randn(rows, depth), torch.randn(depth, columns), torch.empty(0)
        product = seconds(lambda: torch.mm(a, b, out=made), 40)[1]  # noqa: B023
        speeds.append(2 * rows * depth * columns / product / 1e9)
    torch.set_num_threads(threads)
    source, target = torch.randn(2, 1 << 25)
    copy = seconds(lambda: target.copy_(source), 12)[0]
    return {"gflops": threads * max(speeds), "gb": 2 * source.nbytes / copy / 1e9}


def costs(generator: Generator, resolution: int | None, clusters: int, widest: int) -> Row:
    """GFLOP of convolutions and segmentation for the scores up to a resolution, and the GB that
    must move: weights once; an activation is written, read by the next layer, read by the sums."""
    layers = generator.layout.up_to(resolution).layers
    buffers = dict(generator.named_buffers())  # type: ignore[attr-defined]
    at = {x.name: x.resolution for x in generator.layout}
    flop, numbers = 0.0, float(sum(b.numel() for n, b in buffers.items() if "affine" in n))
    for layer, following in itertools.pairwise(layers):
        numbers += 3 * layer.channels * layer.resolution**2
        name = layer.name.replace(".", "/")
        weight = buffers.get(f"{name}/weight")
        if weight is None or layer.to_image:
            continue
        pixels = min(layer.resolution, at[following.name]) ** 2
        depthwise = buffers.get(f"{name}/depthwise")
        own = weight.numel() + (0 if depthwise is None else depthwise.numel())
        flop, numbers = flop + 2 * own * pixels, numbers + own
    features = [x for x in layers if x.resolution == widest and not x.to_image][-2:]
    flop += sum(2 * clusters * x.channels * widest**2 for x in features)
    return {"gflop": flop / 1e9, "gb": 4 * numbers / 1e9}


def stylegan2() -> Generator:
    """StyleGAN2-1024 with weights made by a rule."""
    from ris.generators.stylegan2 import StyleGAN2, StyleGAN2Config
    from tests.checkpoints import network

    return StyleGAN2(network(StyleGAN2Config()))


def plain_scores(generator: Generator, catalogue: Any, sigma: torch.Tensor) -> torch.Tensor:
    """M by the formula as it is written."""
    inputs = [step.input for step in generator.activations(sigma)]
    masks = catalogue.segment(dict(enumerate(inputs)), "reference")
    found = []
    for x in inputs:
        u = F.interpolate(masks, size=x.shape[2:], mode="bilinear", align_corners=False)
        energy = F.instance_norm(x).square()[:, None] * u[:, :, None]  # [B, K, C, H, W]
        found.append(energy.mean((3, 4)))
    return torch.cat(found, 2)


def run_stylegan2(way: str, target: Path, rounds: int) -> Row:
    """One face of StyleGAN2-1024; its scores go to `target`."""
    from benchmarks.checkpoints import random_catalogue
    from ris.method.contribution import contribution_scores

    generator = stylegan2()
    torch.manual_seed(0)
    catalogue = random_catalogue(generator)
    sigma = generator.sigma(generator.mapping(torch.randn(1, 512)))
    limit = 64 if way == STYLEGAN2[2] else None
    if way == STYLEGAN2[0]:

        def work() -> torch.Tensor:
            return plain_scores(generator, catalogue, sigma)
    else:

        def work() -> torch.Tensor:
            return contribution_scores(generator, catalogue, sigma, max_resolution=limit)

    torch.save(work(), target)
    return timed(work, 1, rounds) | costs(generator, limit, catalogue.clusters, 64)


def run_engine(engine: str, resolution: int, workers: int, faces: int) -> Row:
    """Faces from code to scores with the default generator."""
    from ris.ingest.embedding import Embedder
    from ris.ingest.loaded_models import Models
    from ris.ingest.sampling import sample_w

    models = Models()
    generator, catalogue = models.generator, models.catalogue
    codes = [sample_w(generator, i) for i in range(faces)]
    if engine == "openvino":
        embed = openvino_scores(generator, catalogue, resolution, workers)
    else:
        embed = Embedder(generator, catalogue, resolution, engine=engine).embed  # type: ignore[arg-type]
    return timed(lambda: at_once(embed, codes, workers), faces, 2) | costs(
        generator, resolution, catalogue.clusters, 64
    )


def run_ingest(workers: int, faces: int) -> Row:
    """Faces from a 256 px picture to a code by the encoder, and on to scores: ingest without its
    files."""
    from ris.ingest.loaded_models import Models
    from ris.ingest.sampling import sample_w

    models = Models()
    generator, inverter, embedder = models.generator, models.inverter, models.embedder
    with torch.inference_mode():
        pictures = F.interpolate(
            generator.render(generator.sigma(sample_w(generator, 1)[None])), (256, 256), mode="area"
        ).clamp(-1, 1)

    def embed(_: int) -> object:
        return embedder.embed(inverter.invert(pictures).w[0])

    return timed(lambda: at_once(embed, range(faces), workers), faces, 2)


def openvino_scores(
    generator: Generator, catalogue: Any, resolution: int, workers: int
) -> Callable[[torch.Tensor], object]:
    """The same by OpenVINO: the whole way from sigma to M as one graph."""
    import openvino as ov

    from ris.method.contribution import contribution_scores

    class Scores(torch.nn.Module):
        def forward(self, sigma: torch.Tensor) -> torch.Tensor:
            return contribution_scores(generator, catalogue, sigma, max_resolution=resolution)

    example = torch.zeros(1, generator.layout.channels)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ov.convert_model(
            Scores(), example_input=example, input=[list(example.shape)], verbose=False
        )
    threads = torch.get_num_threads()
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads * workers,
        "NUM_STREAMS": workers,
    }
    compiled = ov.Core().compile_model(model, "CPU", options)
    return lambda w: compiled.create_infer_request().infer([generator.sigma(w[None]).numpy()])


def at_once(
    work: Callable[[Any], object], items: Sequence[Any] | range, workers: int
) -> list[object]:
    """Each item's work, by threads of which each takes whole items."""
    if workers == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
    ) as pool:
        return list(pool.map(work, items))


def timed(work: Callable[[], object], faces: int, rounds: int) -> Row:
    """Seconds a face of the best round after a first one, and the peak memory so far."""
    with torch.inference_mode():
        work()
        elapsed, used = seconds(work, rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": elapsed / faces, "cpu": used / faces, "peak_gb": peak}


def child(options: argparse.Namespace, *arguments: str) -> Row:
    """A row by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scores", "--faces", str(options.faces)]
    environment = os.environ | {"OMP_NUM_THREADS": arguments[1]}
    done = subprocess.run(
        [*command, "--task", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def task(options: argparse.Namespace) -> Row:
    """What a child does: KIND THREADS and what it takes."""
    from ris.memory import keep_freed_memory

    keep_freed_memory()
    kind, threads, *rest = options.task
    torch.set_num_threads(int(threads))
    if kind == "machine":
        return machine(int(threads))
    if kind == "stylegan2":
        return run_stylegan2(rest[0], Path(rest[1]), 1)
    if kind == "ingest":
        return run_ingest(int(rest[0]), options.faces)
    return run_engine(rest[0], int(rest[1]), int(rest[2]), options.faces)


def best(rows: Sequence[Row]) -> Row:
    """The least of every figure."""
    return {key: min(row[key] for row in rows) for key in rows[0]}


def hard_masks_differ(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[int, int]:
    """How many of the hard mask's entries differ, away from its threshold, and of how many."""
    from ris.method.masks import MaskOptions, membership

    rule = MaskOptions(kind="hard")
    first, second = (membership(x, rule.tau) for x in (ours, theirs[..., : ours.shape[2]]))
    tied = (second - rule.threshold).abs() < 1e-3
    differ = ((first > rule.threshold) != (second > rule.threshold)) & ~tied
    return int(differ.sum()), first.numel()


def limits(row: Row, speed: Row) -> Row:
    """The row with the seconds that arithmetic and memory would take alone."""
    return row | {
        "arithmetic": row["gflop"] / speed["gflops"],
        "memory": row["gb"] / speed["gb"],
    }


def measure_stylegan2(options: argparse.Namespace, speeds: dict[int, Row]) -> dict[str, Row]:
    """StyleGAN2-1024, one face, on one thread."""
    with tempfile.TemporaryDirectory() as name:
        files = {way: Path(name) / f"{i}.pt" for i, way in enumerate(STYLEGAN2)}
        found: dict[str, list[Row]] = {way: [] for way in STYLEGAN2}
        for _ in range(options.rounds):
            for way in STYLEGAN2:
                found[way].append(child(options, "stylegan2", "1", way, str(files[way])))
        scores = {way: torch.load(files[way], weights_only=True) for way in STYLEGAN2}
    rows = {way: limits(best(found[way]), speeds[1]) for way in STYLEGAN2}
    for way in STYLEGAN2[1:]:
        differ, entries = hard_masks_differ(scores[way], scores[STYLEGAN2[0]])
        rows[way] |= {
            "differ": differ,
            "entries": entries,
            "faster": rows[STYLEGAN2[0]]["seconds"] / rows[way]["seconds"],
            "leaner": rows[STYLEGAN2[0]]["peak_gb"] / rows[way]["peak_gb"],
        }
    return rows


def measure_engines(options: argparse.Namespace, speeds: dict[int, Row]) -> dict[str, Row]:
    """The default generator by every engine, at 64 and 128 px."""
    keys = [
        (engine, resolution, *way)
        for resolution in (64, 128)
        for engine in options.engines
        for way in WAYS
    ]
    found: dict[Any, list[Row]] = {key: [] for key in keys}
    for _ in range(options.rounds):
        for key in keys:
            engine, resolution, _, threads, workers = key
            row = child(options, "engine", str(threads), engine, str(resolution), str(workers))
            found[key].append(row)
    return {
        f"{engine}, {resolution} px, {name}": limits(
            best(found[key]), speeds[max(threads, workers)]
        )
        for key in keys
        for engine, resolution, name, threads, workers in [key]
    }


def measure_ingest(options: argparse.Namespace) -> dict[str, Row]:
    """Encoder, sigma and scores together."""
    found: dict[str, list[Row]] = {name: [] for name, _, _ in WAYS}
    for _ in range(options.rounds):
        for name, threads, workers in WAYS:
            found[name].append(child(options, "ingest", str(threads), str(workers)))
    return {name: best(rows) for name, rows in found.items()}


def show(title: str, rows: dict[str, Row]) -> None:
    """A Markdown table."""
    names = [title, "s a face", "processor s", "arithmetic s", "memory s", "peak GB", "notes"]
    lines = []
    for name, row in rows.items():
        own = [f"{row[key]:.3f}" if key in row else "" for key in ("arithmetic", "memory")]
        notes = []
        if "faster" in row:
            notes.append(f"{row['faster']:.1f} times faster, {row['leaner']:.1f} times leaner")
        if "differ" in row:
            notes.append(f"{row['differ']} of {row['entries']} mask entries differ")
        spent = [f"{row[key]:.3f}" for key in ("seconds", "cpu")]
        lines.append([name, *spent, *own, f"{row['peak_gb']:.2f}", "; ".join(notes)])
    print("\n" + markdown_table(names, lines))


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints tables and returns all figures.

    Args:
        arguments: as on the command line, see ``--help``; None takes that.
    """
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=["stylegan2", "engines", "ingest"], action="append")
    parser.add_argument("--faces", type=int, default=12, help="a round of an engine")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engines", nargs="+", default=["torch", "native"], help="also: openvino")
    add_json(parser)
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.task:
        print(json.dumps(task(options)))
        return {}
    wanted = options.only or ["stylegan2", "engines", "ingest"]
    speeds = {n: child(options, "machine", str(n)) for n in (1, 2)}
    for n, speed in speeds.items():
        print(f"{n} threads: {speed['gflops']:.0f} GFLOP/s, {speed['gb']:.0f} GB/s")
    results: dict[str, Any] = {"machine": speeds}
    if "stylegan2" in wanted:
        results["stylegan2"] = measure_stylegan2(options, speeds)
        show("StyleGAN2-1024, 1 thread", results["stylegan2"])
    if "engines" in wanted:
        results["engines"] = measure_engines(options, speeds)
        show("default generator", results["engines"])
    if "ingest" in wanted:
        rows = results["ingest"] = measure_ingest(options)
        plain = results.get("stylegan2", {}).get(STYLEGAN2[0])
        for row in rows.values() if plain else ():
            row["faster"] = plain["seconds"] / row["seconds"]
            row["leaner"] = plain["peak_gb"] / row["peak_gb"]
        show("picture to scores", rows)
    write_json(results, options.json)
    return results


if __name__ == "__main__":
    main()
