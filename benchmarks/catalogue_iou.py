"""How well a feature catalogue agrees with a face parser, and how the shipped one was made.

Fits a catalogue (or loads one with --catalogue), groups its clusters by overlap with the parser
on generated faces and reports the IoU of every class on other generated faces:

    python -m benchmarks.catalogue_iou --parser bisenetv2_celebamaskhq_448x448_integer_quant.tflite

The parser is a BiSeNetV2 for CelebAMask-HQ as a TFLite file (input 1x448x448x3, RGB in [-1, 1];
output 448x448 class ids). It needs `ai-edge-litert`, an overlay sheet needs `pillow`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.arguments import parser_of
from ris.data.models.asset_files import load_tensors
from ris.data.models.shipped import load_generator
from ris.generators.generator import Generator
from ris.images import to_pixels
from ris.method.catalogue import CLASSES, FeatureCatalogue
from ris.method.catalogue_fit import (
    DEFAULT_LAYERS,
    fit,
    group_by_overlap,
    sample_activations,
    sample_sigma,
)

PARSER_CLASSES = (  # the parser's output id -> our class
    "background", "skin", "eyes", "eyes", "eyes", "eyes", "eyes", "skin", "skin", "skin",
    "nose", "mouth", "mouth", "mouth", "neck", "neck", "clothes", "hair", "hair",
)  # fmt: skip
PARSER_SIZE = 448
COLOURS = (  # RGB per class, in the order of CLASSES; the background stays uncoloured
    (66, 135, 245), (245, 200, 66), (230, 40, 60), (150, 60, 200),
    (80, 200, 120), (240, 130, 40), (60, 200, 210), (0, 0, 0),
)  # fmt: skip


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("--parser", type=Path, required=True, help="TFLite file of the face parser")
    add("--catalogue", type=Path, help="evaluate this safetensors file instead of fitting")
    add("--fit-faces", type=int, default=400)
    add("--fit-seed", type=int, default=11)
    add("--clusters", type=int, default=192)
    add("--layers", nargs="+", default=list(DEFAULT_LAYERS), help="style layers, by input")
    add("--weights", nargs="+", type=float, help="one per layer (default: 1 each)")
    add("--size", type=int, default=64, help="mask size, a divisor of 448")
    add("--pixels", type=int, default=256, help="pixels drawn of each face")
    add("--iterations", type=int, default=25)
    add("--truncation", type=float, default=0.7)
    add("--group-faces", type=int, default=150)
    add("--group-seed", type=int, default=12)
    add("--faces", type=int, default=100, help="held-out faces of the report")
    add("--seed", type=int, default=13, help="of the held-out faces")
    add("--cache", type=Path, help="folder that keeps parsed faces between runs")
    add("--out", type=Path, help="write the catalogue here (safetensors)")
    add("--sheet", type=Path, help="write an overlay of the classes on 12 held-out faces here")
    add("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(arguments)


def progress(title: str, done: int, total: int) -> None:
    """A progress line on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{title} {done}/{total}", end="\n" if done == total else "", file=sys.stderr)


class Parser:
    """The face parser behind a call: (1, 3, S, S) image -> (448, 448) uint8 parser ids."""

    def __init__(self, path: Path) -> None:
        """Loads the TFLite file at `path`."""
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(str(path), num_threads=torch.get_num_threads())
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._output = self._net.get_output_details()[0]["index"]

    def __call__(self, image: torch.Tensor) -> np.ndarray:
        """Parser ids of one image in [-1, 1]."""
        size = (PARSER_SIZE, PARSER_SIZE)
        x = F.interpolate(image.clamp(-1, 1), size=size, mode="bilinear", antialias=True)
        self._net.set_tensor(self._input, x.permute(0, 2, 3, 1).contiguous().numpy())
        self._net.invoke()
        ids: np.ndarray = self._net.get_tensor(self._output)
        return ids.squeeze().astype(np.uint8)


@torch.no_grad()
def parsed_faces(
    generator: Generator, parser_path: Path, faces: int, truncation: float, seed: int,
    cache: Path | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Parser ids (F, 448, 448) and thumbnails (F, 256, 256, 3), both uint8."""
    key = f"parsed-{generator.fingerprint}-{truncation}-{seed}-{faces}.npz"
    if cache is not None and (cache / key).is_file():
        with np.load(cache / key, allow_pickle=False) as stored:
            return stored["labels"], stored["images"]
    parser = Parser(parser_path)
    labels, images = [], []
    for done, sigma in enumerate(sample_sigma(generator, faces, truncation, seed), 1):
        image = generator.render(sigma)
        labels.append(parser(image))
        small = F.interpolate(image.clamp(-1, 1), size=(256, 256), mode="area")[0]
        images.append(to_pixels(small))
        progress("parsing", done, faces)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(cache / key, labels=np.stack(labels), images=np.stack(images))
    return np.stack(labels), np.stack(images)


def class_maps(parser_ids: np.ndarray, size: int) -> torch.Tensor:
    """(F, 448, 448) parser ids -> (F, size, size) int64 class, by majority of the pixels."""
    if PARSER_SIZE % size:
        raise SystemExit(f"--size {size} does not divide {PARSER_SIZE}")
    table = np.array([CLASSES.index(name) for name in PARSER_CLASSES], dtype=np.uint8)
    step = PARSER_SIZE // size
    maps = table[parser_ids].reshape(len(parser_ids), size, step, size, step)
    votes = np.stack([(maps == k).sum((2, 4)) for k in range(len(CLASSES))], 1)
    return torch.from_numpy(votes.argmax(1))


def cluster_maps(
    generator: Generator, catalogue: FeatureCatalogue, faces: int, truncation: float, seed: int
) -> tuple[torch.Tensor, float]:
    """(F, h, w) int64 clusters and the milliseconds that segmenting one face took."""
    layers = catalogue.needed_layers(generator.layout)
    maps, seconds = [], 0.0
    with torch.no_grad():
        for _, activations in sample_activations(generator, layers, faces, truncation, seed):
            start = time.perf_counter()
            maps.append(catalogue.cluster_labels(activations))
            seconds += time.perf_counter() - start
            progress("segmenting", len(maps), faces)
    return torch.cat(maps), 1000 * seconds / faces


def iou(labels: torch.Tensor, reference: torch.Tensor) -> dict[str, dict[str, float]]:
    """IoU by class over all pixels of all faces, and the mean of the faces' own IoU."""
    report: dict[str, dict[str, float]] = {}
    for k, name in enumerate(CLASSES):
        ours, theirs = labels == k, reference == k
        hit = (ours & theirs).sum((1, 2)).double()
        union = (ours | theirs).sum((1, 2)).double()
        seen = union > 0
        report[name] = {
            "iou": float(hit.sum() / union.sum().clamp_min(1)),
            "per_face": float((hit[seen] / union[seen]).mean()) if seen.any() else 0.0,
            "area": float(ours.double().mean()),
        }
    return report


def write_sheet(path: Path, images: np.ndarray, *rows: torch.Tensor) -> None:
    """A sheet: each of 12 faces, then the same face under each row's class colours."""
    from PIL import Image

    colours = np.array(COLOURS, dtype=np.float32)
    side = images.shape[1]
    tiles = []
    for i in range(min(12, len(images))):
        column = [images[i]]
        for labels in rows:
            tint = colours[labels[i].numpy()].repeat(side // labels.shape[1], 0)
            tint = tint.repeat(side // labels.shape[1], 1)
            alpha = 0.55 * (tint.sum(-1, keepdims=True) > 0)
            column.append((images[i] * (1 - alpha) + tint * alpha).astype(np.uint8))
        tiles.append(np.concatenate(column, 0))
    bands = [np.concatenate(tiles[i : i + 6], 1) for i in range(0, len(tiles), 6)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(bands, 0)).save(path)


def main(arguments: list[str] | None = None) -> None:
    """Fit or load, group, report."""
    options = parse_arguments(arguments)
    generator = load_generator()
    truncation = options.truncation
    if options.catalogue is not None:
        catalogue = FeatureCatalogue.from_tensors(*load_tensors(options.catalogue))
        catalogue.check(generator)
    else:
        fitted = fit(
            generator,
            faces=options.fit_faces,
            clusters=options.clusters,
            truncation=truncation,
            seed=options.fit_seed,
            layers=tuple(options.layers),
            weights=tuple(options.weights) if options.weights else None,
            size=options.size,
            pixels=options.pixels,
            iterations=options.iterations,
            progress=lambda done, total: progress("fitting", done, total),
        )
        ids, _ = parsed_faces(
            generator, options.parser, options.group_faces, truncation, options.group_seed,
            options.cache,
        )  # fmt: skip
        clusters, _ = cluster_maps(
            generator, fitted, options.group_faces, truncation, options.group_seed
        )
        reference = class_maps(ids, fitted.size)
        catalogue = fitted.grouped(
            group_by_overlap(clusters, reference, fitted.clusters, len(CLASSES)), CLASSES
        )
    if options.out is not None:
        from safetensors.torch import save_file

        tensors, metadata = catalogue.to_tensors()
        recorded = (
            "fit_faces", "fit_seed", "pixels", "iterations", "truncation",
            "group_faces", "group_seed",
        )  # fmt: skip
        metadata["fitted"] = json.dumps({name: getattr(options, name) for name in recorded})
        options.out.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, options.out, metadata)

    ids, images = parsed_faces(
        generator, options.parser, options.faces, truncation, options.seed, options.cache
    )
    clusters, milliseconds = cluster_maps(
        generator, catalogue, options.faces, truncation, options.seed
    )
    labels, reference = catalogue.class_of_cluster[clusters], class_maps(ids, catalogue.size)
    report = iou(labels, reference)
    if options.sheet is not None:
        write_sheet(options.sheet, images, labels, reference)
    counts = torch.bincount(catalogue.class_of_cluster, minlength=len(CLASSES)).tolist()
    if options.json:
        print(json.dumps({
            "catalogue": catalogue.fingerprint, "generator": generator.fingerprint,
            "faces": options.faces, "milliseconds": milliseconds, "classes": report,
        }))  # fmt: skip
        return
    print(f"{catalogue.fingerprint}: {catalogue.clusters} clusters at {catalogue.size} px of "
          f"{', '.join(catalogue.layers)}; {milliseconds:.0f} ms a face")  # fmt: skip
    print(f"{'class':<12}{'IoU':>7}{'per face':>10}{'area':>8}{'clusters':>10}")
    for (name, row), count in zip(report.items(), counts, strict=True):
        print(f"{name:<12}{row['iou']:>7.3f}{row['per_face']:>10.3f}{row['area']:>8.3f}{count:>10}")


if __name__ == "__main__":
    main()
