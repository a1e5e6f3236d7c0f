"""Learning a feature catalogue: clusters from generated faces, then their classes (Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F

from ris.generators.generator import Generator
from ris.method.catalogue import FeatureCatalogue, pixel_features, resize
from ris.method.kmeans import spherical_kmeans
from ris.method.layout import StyleLayout

DEFAULT_LAYERS = ("3.conv2", "4.up")  # of the shipped generator, see `feature_layers`
WIDEST = 64  # pixels of the activations that describe a pixel
TRUNCATION = 0.7
FACES, CLUSTERS, SEED = 400, 192, 11  # of the shipped catalogue

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def feature_layers(layout: StyleLayout) -> tuple[str, ...]:
    """Names of the two layers whose inputs describe a pixel best: what the convolutions at 64 px
    (or at the generator's size, where that is less) give."""
    names = [x.name for x in layout if not x.to_image and x.resolution <= WIDEST]
    return tuple(names[-2:])


def fit(
    generator: Generator,
    *,
    faces: int = FACES,
    clusters: int = CLUSTERS,
    truncation: float = TRUNCATION,
    seed: int = SEED,
    layers: tuple[str, ...] | None = None,
    weights: tuple[float, ...] | None = None,
    size: int = 64,
    pixels: int = 256,
    iterations: int = 25,
    progress: Progress | None = None,
) -> FeatureCatalogue:
    """Learns the clusters from generated faces, without labels.

    Pixels are drawn in proportion to the energy of their normalised activation: it is high where
    a face has its features (eyes, nostrils, lips) and low on hair and background, which would
    otherwise take nearly all clusters by their mere area. Each cluster is a class of its own in
    the result; `grouped` gives them named classes.

    Args:
        faces: number of generated faces.
        clusters: number of clusters n.
        truncation: 1 samples all of W, 0 the mean face only.
        seed: of the faces, the pixels drawn and the clustering.
        layers: names of the style layers whose inputs describe a pixel; None: those of
            `feature_layers`.
        weights: length of each layer's part of the feature (None: 1 each).
        size: height and width of the masks in pixels.
        pixels: different pixels drawn of each face; faces * pixels rows are held in half precision.
        iterations: most steps of k-means.
        progress: called with (done, total) over faces and k-means steps together.

    Raises:
        ValueError: a layer that the generator lacks.
    """
    layers = layers or feature_layers(generator.layout)
    names = [layer.name for layer in generator.layout]
    if missing := sorted(set(layers) - set(names)):
        raise ValueError(f"the generator has no style layer {missing[0]!r}")
    indices = tuple(names.index(name) for name in layers)
    channels = tuple(generator.layout.layers[i].channels for i in indices)
    weights = weights or (1.0,) * len(layers)
    total = faces + iterations
    draw = torch.Generator().manual_seed(seed)
    rows = []
    sampled = sample_activations(generator, indices, faces, truncation, seed)
    for done, (_, activations) in enumerate(sampled, 1):
        parts, energy = [], torch.zeros(size * size, device=generator.device)
        for index, weight in zip(indices, weights, strict=True):
            x, length = pixel_features(activations[index])
            parts.append(resize(x * (weight / length), size))
            energy += resize(length.square(), size).flatten() / x.shape[1]
        x = torch.cat(parts, 1)[0].flatten(1).T  # [h w, D]
        chosen = torch.multinomial(energy.cpu(), pixels, generator=draw)
        rows.append(x[chosen.to(x.device)].half())
        if progress is not None:
            progress(done, total)
    centroids = spherical_kmeans(
        torch.cat(rows),
        clusters,
        iterations=iterations,
        seed=seed,
        progress=progress and (lambda done, _: progress(faces + done, total)),
    )
    return FeatureCatalogue(
        classes=tuple(f"cluster {i}" for i in range(clusters)),
        centroids=centroids.cpu(),
        class_of_cluster=torch.arange(clusters),
        layers=tuple(layers),
        layer_indices=indices,
        channels=channels,
        weights=tuple(weights),
        size=size,
        generator=generator.fingerprint,
    )


@torch.no_grad()
def sample_activations(
    generator: Generator, layers: tuple[int, ...], faces: int, truncation: float, seed: int
) -> Iterator[tuple[torch.Tensor, dict[int, torch.Tensor]]]:
    """Sigma (1, C) and the inputs (1, C, H, W) of `layers` for one random face after another."""
    resolution = max(generator.layout.layers[i].resolution for i in layers)
    for sigma in sample_sigma(generator, faces, truncation, seed):
        wanted = {
            step.layer: step.input
            for step in generator.activations(sigma, resolution)
            if step.layer in layers
        }
        yield sigma, wanted


@torch.no_grad()
def sample_sigma(
    generator: Generator, faces: int, truncation: float, seed: int
) -> Iterator[torch.Tensor]:
    """Sigma (1, C) of `faces` random faces; the first ones do not depend on `faces`."""
    draw = torch.Generator().manual_seed(seed)
    mean = generator.mean_w()
    for _ in range(faces):
        z = torch.randn(1, generator.latent_size, generator=draw).to(generator.device)
        yield generator.sigma(mean + truncation * (generator.mapping(z) - mean))


def group_by_overlap(
    cluster_labels: torch.Tensor,  # (F, h, w)
    reference_labels: torch.Tensor,  # (F, h, w)
    n_clusters: int,
    n_classes: int,
) -> torch.Tensor:
    """Class of each cluster, chosen for the largest mean IoU with reference class maps.

    Every cluster starts in the class that covers most of it. Then clusters move, one at a time,
    to the class that raises the mean over classes of the IoU most, until none does.

    Args:
        cluster_labels: (F, h, w) int64 cluster of each pixel.
        reference_labels: (F, h, w) int64 class of the same pixels.
        n_clusters: number of clusters n.
        n_classes: number of classes K.

    Returns:
        (n,) int64. A cluster without any pixel gets the class with most pixels.

    Raises:
        ValueError: the two maps differ in shape.
    """
    if cluster_labels.shape != reference_labels.shape:
        raise ValueError(
            f"cluster labels are {tuple(cluster_labels.shape)}, reference labels "
            f"{tuple(reference_labels.shape)}"
        )
    pairs = cluster_labels.flatten() * n_classes + reference_labels.flatten()
    table = torch.bincount(pairs, minlength=n_clusters * n_classes).cpu()
    table = table.reshape(n_clusters, n_classes).double()  # pixels by cluster and class
    sizes, totals = table.sum(1), table.sum(0)
    result = torch.where(sizes > 0, table.argmax(1), totals.argmax())
    hit, area = torch.zeros(n_classes).double(), torch.zeros(n_classes).double()
    hit.index_add_(0, result, table.gather(1, result[:, None])[:, 0])
    area.index_add_(0, result, sizes)
    order = sizes.argsort(descending=True, stable=True).tolist()
    moved = True
    while moved:
        moved = False
        for i in order:
            old = int(result[i])
            hit[old] -= table[i, old]
            area[old] -= sizes[i]
            # row c: overlap and area of every class with cluster i in class c
            hits = hit + torch.diag(table[i])
            areas = area + torch.diag(sizes[i].expand(n_classes))
            score = (hits / (areas + totals - hits).clamp_min(1)).sum(1)
            new = int(score.argmax())
            if new != old and score[new] > score[old] + 1e-12:
                result[i], moved = new, True
            else:
                new = old
            hit[new] += table[i, new]
            area[new] += sizes[i]
    return result


def transfer_grouping(
    generator: Generator,
    fitted: FeatureCatalogue,
    teacher: FeatureCatalogue,
    *,
    faces: int = 150,
    truncation: float = TRUNCATION,
    seed: int = 12,
    progress: Progress | None = None,
) -> FeatureCatalogue:
    """Groups new clusters into the classes of an existing catalogue, by overlap on faces.

    So a catalogue can be fitted anew without a face parser. Both must belong to `generator`.

    Raises:
        MismatchError: one of them was fitted on another generator.
    """
    layers: list[int] = []
    for catalogue in (fitted, teacher):
        catalogue.check(generator)
        layers += catalogue.needed_layers(generator.layout)
    sampled = sample_activations(generator, tuple(layers), faces, truncation, seed)
    pairs = ((fitted.cluster_labels(found), teacher.labels(found)) for _, found in sampled)
    return group_like(fitted, teacher.classes, pairs, progress and (lambda n: progress(n, faces)))


def group_like(
    fitted: FeatureCatalogue,
    classes: tuple[str, ...],
    pairs: Iterable[tuple[torch.Tensor, torch.Tensor]],
    progress: Callable[[int], None] | None = None,
) -> FeatureCatalogue:
    """Groups clusters into the classes that cover most of them.

    Args:
        fitted: has the clusters.
        classes: names of the K classes.
        pairs: for one face after another its clusters and its classes, (1, h, w) int64 each;
            of different sizes, if need be.
        progress: called with the number of faces done.
    """
    size = (fitted.size, fitted.size)
    clusters, wanted = [], []
    for done, (own, known) in enumerate(pairs, 1):
        clusters.append(own.cpu())
        resized = F.interpolate(known[:, None].float(), size=size, mode="nearest-exact")
        wanted.append(resized[:, 0].long().cpu())
        if progress is not None:
            progress(done)
    groups = group_by_overlap(torch.cat(clusters), torch.cat(wanted), fitted.clusters, len(classes))
    return fitted.grouped(groups, classes)
