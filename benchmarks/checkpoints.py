"""Time and memory of a face through a StyleGAN2 checkpoint, and of a photo through an encoder's.

    python -m benchmarks.checkpoints ffhq.pt --threads 1 --what 128
    python -m benchmarks.checkpoints ffhq.pt --encoder e4e_ffhq_encode.pt --what encode

``--what`` is ``render``, ``encode``, or the resolution that scores go up to (0: all of them). One
task a run, so that the peak memory is its own. The centres of the catalogue are random: their
number counts here, not where they are.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.arguments import parser_of
from ris.data.models.shipped import load_generator
from ris.generators.generator import Generator
from ris.ingest.inversion.encoder_inverter import load_checkpoint_inverter
from ris.memory import keep_freed_memory
from ris.method.catalogue import CLASSES, FeatureCatalogue
from ris.method.catalogue_fit import CLUSTERS, feature_layers
from ris.method.contribution import contribution_scores


def random_catalogue(generator: Generator) -> FeatureCatalogue:
    """A catalogue of the shipped one's size with random centres."""
    names = [layer.name for layer in generator.layout]
    layers = feature_layers(generator.layout)
    indices = tuple(names.index(name) for name in layers)
    channels = tuple(generator.layout.layers[i].channels for i in indices)
    return FeatureCatalogue(
        classes=CLASSES,
        centroids=torch.nn.functional.normalize(torch.randn(CLUSTERS, sum(channels)), dim=1),
        class_of_cluster=torch.arange(CLUSTERS) % len(CLASSES),
        layers=layers,
        layer_indices=indices,
        channels=channels,
        weights=(1.0,) * len(layers),
        size=64,
        generator=generator.fingerprint,
    )


def task(options: argparse.Namespace, generator: Generator) -> Callable[[], object]:
    """What is timed."""
    sigma = generator.sigma(generator.mean_w()[None])
    if options.what == "render":
        return lambda: generator.render(sigma)
    if options.what == "encode":
        inverter = load_checkpoint_inverter(generator, options.encoder)
        photo = torch.rand(1, 3, 1024, 1024) * 2 - 1
        return lambda: inverter.invert(photo)
    limit = int(options.what) or None
    catalogue = random_catalogue(generator)
    return lambda: contribution_scores(generator, catalogue, sigma, max_resolution=limit)


@torch.no_grad()
def main() -> None:
    """Command line."""
    parser = parser_of(__doc__)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--what", default="128")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    begin = time.monotonic()
    work = task(options, load_generator(options.generator))
    print(f"loaded in {time.monotonic() - begin:.1f} s")
    elapsed, processor = [], []
    for _ in range(options.repeats):
        wall, cpu = time.monotonic(), time.process_time()
        work()
        elapsed.append(time.monotonic() - wall)
        processor.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.what}, {options.threads} threads: best of {options.repeats} "
        f"{min(elapsed):.2f} s elapsed, {min(processor):.2f} s of processors, peak {peak:.2f} GB"
    )


if __name__ == "__main__":
    main()
