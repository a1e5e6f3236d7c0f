"""The feature catalogue: which pixel of a face belongs to which facial feature (Sec. 3.1).

Spherical k-means over the generator's activations finds clusters of pixels that mean the same on
every face (an eyelid, a lip, a fringe) without any label. Clusters are then grouped into classes.
At run time a pixel gets the class of its nearest centre, which gives the one-hot class masks U
of Eq. 1.

The feature of a pixel is the concatenation over a few layers of the layer's instance-normalised
activation, scaled to unit length per pixel and times the layer's weight, at the catalogue's
resolution.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F

from ris.errors import MismatchError
from ris.generators.protocol import Generator
from ris.kmeans import spherical_kmeans
from ris.layout import StyleLayout

CLASSES = ("eyes", "nose", "mouth", "hair", "skin", "neck", "clothes", "background")
DEFAULT_LAYERS = ("3.conv2", "4.up")  # their inputs: what the 64 px block's convolutions give
TRUNCATION = 0.7
FORMAT = "1"

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class FeatureCatalogue:
    """Cluster centres over activations and the class of each cluster.

    Attributes:
        classes: names of the K classes.
        centroids: (n, D) float32; D is the sum of the layers' channels. A pixel belongs to the
            centre with the largest dot product, which is the largest cosine in the space that
            was clustered (the centres are of one length there).
        class_of_cluster: (n,) int64 within 0..K-1.
        layers: names of the style layers whose input activation is used.
        layer_indices: their indices in the generator's layout.
        channels: their channel counts; the columns of `centroids` in this order.
        weights: length of each layer's part of a pixel's feature.
        size: height and width of the masks in pixels.
        generator: fingerprint of the generator that the catalogue was fitted on.
    """

    classes: tuple[str, ...]
    centroids: torch.Tensor
    class_of_cluster: torch.Tensor
    layers: tuple[str, ...]
    layer_indices: tuple[int, ...]
    channels: tuple[int, ...]
    weights: tuple[float, ...]
    size: int
    generator: str

    def __post_init__(self) -> None:
        """Raises `ValueError` when the parts do not fit together."""
        if self.centroids.ndim != 2 or self.centroids.shape[1] != sum(self.channels):
            raise ValueError(
                f"centroids are {tuple(self.centroids.shape)}, expected (n, {sum(self.channels)})"
            )
        if self.class_of_cluster.shape != self.centroids.shape[:1]:
            raise ValueError(
                f"class_of_cluster is {tuple(self.class_of_cluster.shape)}, "
                f"expected ({len(self.centroids)},)"
            )
        count = len(self.layers)
        if not count == len(self.layer_indices) == len(self.channels) == len(self.weights):
            raise ValueError("layers, layer_indices, channels and weights differ in length")
        low, high = int(self.class_of_cluster.min()), int(self.class_of_cluster.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(f"a cluster's class lies outside 0..{len(self.classes) - 1}")

    @property
    def clusters(self) -> int:
        """Number of clusters n."""
        return len(self.centroids)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that the segmentation depends on."""
        digest = hashlib.sha256()
        tensors, metadata = self.to_tensors()
        digest.update(json.dumps(metadata, sort_keys=True).encode())
        for name in sorted(tensors):
            digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
            digest.update(tensors[name].numpy().tobytes())
        return f"catalogue-{digest.hexdigest()[:16]}"

    def needed_layers(self, layout: StyleLayout) -> tuple[int, ...]:
        """Indices in `layout` of the layers whose activations `segment` wants.

        Raises:
            MismatchError: the layout has other layers than the catalogue was fitted on.
        """
        for index, name, channels in zip(
            self.layer_indices, self.layers, self.channels, strict=True
        ):
            layer = layout.layers[index] if index < len(layout) else None
            if layer is None or (layer.name, layer.channels) != (name, channels):
                raise MismatchError(
                    f"the catalogue {self.fingerprint} (of generator {self.generator}) wants a "
                    f"style layer {name!r} with {channels} channels at position {index}, which "
                    "this generator lacks: run `ris catalog fit`"
                )
        return self.layer_indices

    def needed_resolution(self, layout: StyleLayout) -> int:
        """Pixels up to which the generator must run, for `Generator.activations`."""
        return max(layout.layers[i].resolution for i in self.needed_layers(layout))

    def check(self, generator: Generator) -> None:
        """Raises `MismatchError` when the catalogue was fitted on another generator."""
        if generator.fingerprint != self.generator:
            raise MismatchError(
                f"the catalogue {self.fingerprint} was fitted on generator {self.generator}, "
                f"not on {generator.fingerprint}: run `ris catalog fit`"
            )

    def cluster_labels(self, activations: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """(B, h, w) int64 cluster of every pixel; arguments as `segment`'s."""
        total: torch.Tensor | None = None
        parts = torch.split(self.centroids, list(self.channels), dim=1)
        for index, weight, centres in zip(self.layer_indices, self.weights, parts, strict=True):
            if index not in activations:
                raise ValueError(f"the activation of style layer {index} is missing")
            x, length = _pixel_features(activations[index])
            # Scaling and resizing commute with the product: do them on n, not C, channels.
            scores = centres.to(x) @ x.flatten(2)  # [B, n, H W]
            scores = scores.reshape(len(x), -1, *x.shape[2:])
            scores = _resize(scores.mul_(weight / length), self.size)  # [B, n, h, w]
            total = scores if total is None else total.add_(scores)
        assert total is not None
        return total.argmax(1)

    def labels(self, activations: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """(B, h, w) int64 class of every pixel; arguments as `segment`'s."""
        return self.class_of_cluster.to(next(iter(activations.values())).device)[
            self.cluster_labels(activations)
        ]

    def segment(self, activations: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Class masks U of Eq. 1.

        Args:
            activations: (B, C, H, W) by style-layer index, as `Generator.activations` yields
                them; those of `needed_layers` must be there.

        Returns:
            (B, K, h, w) float32, one-hot over the K classes.
        """
        labels = self.labels(activations)
        return F.one_hot(labels, len(self.classes)).permute(0, 3, 1, 2).float()

    def grouped(
        self, class_of_cluster: torch.Tensor, classes: tuple[str, ...] = CLASSES
    ) -> FeatureCatalogue:
        """The same clusters with classes: `class_of_cluster` (n,) int64 into `classes`."""
        return replace(self, classes=classes, class_of_cluster=class_of_cluster)

    def to_tensors(self) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """Tensors and text metadata, as safetensors stores them."""
        tensors = {
            "centroids": self.centroids.detach().cpu().float().contiguous(),
            "class_of_cluster": self.class_of_cluster.detach().cpu().long().contiguous(),
        }
        metadata = {
            "format": FORMAT,
            "classes": json.dumps(self.classes),
            "layers": json.dumps(self.layers),
            "layer_indices": json.dumps(self.layer_indices),
            "channels": json.dumps(self.channels),
            "weights": json.dumps(self.weights),
            "size": str(self.size),
            "generator": self.generator,
        }
        return tensors, metadata

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
    ) -> FeatureCatalogue:
        """Inverse of `to_tensors`; metadata beyond it is ignored.

        Raises:
            MismatchError: written in another format, or something is missing.
        """
        if metadata.get("format") != FORMAT:
            raise MismatchError(
                f"the catalogue has format {metadata.get('format')}, this version reads format "
                f"{FORMAT}: run `ris catalog fit`"
            )
        try:
            return cls(
                classes=tuple(json.loads(metadata["classes"])),
                centroids=tensors["centroids"].float(),
                class_of_cluster=tensors["class_of_cluster"].long(),
                layers=tuple(json.loads(metadata["layers"])),
                layer_indices=tuple(json.loads(metadata["layer_indices"])),
                channels=tuple(json.loads(metadata["channels"])),
                weights=tuple(json.loads(metadata["weights"])),
                size=int(metadata["size"]),
                generator=metadata["generator"],
            )
        except (KeyError, ValueError) as error:
            raise MismatchError(
                f"the catalogue cannot be used ({error}): run `ris catalog fit`"
            ) from error


def fit(
    generator: Generator,
    *,
    faces: int = 400,
    clusters: int = 192,
    truncation: float = TRUNCATION,
    seed: int = 11,
    layers: tuple[str, ...] = DEFAULT_LAYERS,
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
        layers: names of the style layers whose inputs describe a pixel.
        weights: length of each layer's part of the feature (None: 1 each).
        size: height and width of the masks in pixels.
        pixels: different pixels drawn of each face; faces * pixels rows are held in half precision.
        iterations: most steps of k-means.
        progress: called with (done, total) over faces and k-means steps together.

    Raises:
        ValueError: a layer that the generator lacks.
    """
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
            x, length = _pixel_features(activations[index])
            parts.append(_resize(x * (weight / length), size))
            energy += _resize(length.square(), size).flatten() / x.shape[1]
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
    size = (fitted.size, fitted.size)
    clusters, classes = [], []
    sampled = sample_activations(generator, tuple(layers), faces, truncation, seed)
    for done, (_, activations) in enumerate(sampled, 1):
        clusters.append(fitted.cluster_labels(activations))
        known = teacher.labels(activations)[:, None].float()
        classes.append(F.interpolate(known, size=size, mode="nearest-exact")[:, 0].long())
        if progress is not None:
            progress(done, faces)
    groups = group_by_overlap(
        torch.cat(clusters), torch.cat(classes), fitted.clusters, len(teacher.classes)
    )
    return fitted.grouped(groups, teacher.classes)


def _pixel_features(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, C, H, W) activation, instance-normalised, and its length (B, 1, H, W) at each pixel."""
    x = F.layer_norm(x, x.shape[-2:])  # per face and channel: what an instance norm computes
    return x, x.square().sum(1, keepdim=True).sqrt_().clamp_min_(1e-6)


def _resize(x: torch.Tensor, size: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, size, size): bilinear upwards, mean of the pixels downwards."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return F.interpolate(x, size=(size, size), mode="area")
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
