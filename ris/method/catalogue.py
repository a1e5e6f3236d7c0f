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

import ctypes
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F

from ris.errors import MismatchError
from ris.fingerprints import tensor_digest
from ris.generators.generator import Generator
from ris.method.layout import StyleLayout
from ris.ops import segmentation
from ris.ops.calls import Impl, kernels

CLASSES = ("eyes", "nose", "mouth", "hair", "skin", "neck", "clothes", "background")
FORMAT = "1"
REFIT = "run `ris.fit_catalogue`"


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
        tensors, metadata = self.to_tensors()
        shaped = {f"{name}{tuple(tensor.shape)}": tensor for name, tensor in tensors.items()}
        before = json.dumps(metadata, sort_keys=True).encode()
        return f"catalogue-{tensor_digest(shaped, before=before)}"

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
                    "this generator lacks",
                    REFIT,
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
                f"not on {generator.fingerprint}",
                REFIT,
            )

    def cluster_labels(self, activations: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """(B, h, w) int64 cluster of every pixel; arguments as `segment`'s."""
        total: torch.Tensor | None = None
        parts = torch.split(self.centroids, list(self.channels), dim=1)
        for index, weight, centres in zip(self.layer_indices, self.weights, parts, strict=True):
            if index not in activations:
                raise ValueError(f"the activation of style layer {index} is missing")
            x, length = pixel_features(activations[index])
            # Scaling and resizing commute with the product: do them on n, not C, channels.
            scores = centres.to(x) @ x.flatten(2)  # [B, n, H W]
            scores = scores.reshape(len(x), -1, *x.shape[2:])
            scores = resize(scores.mul_(weight / length), self.size)  # [B, n, h, w]
            total = scores if total is None else total.add_(scores)
        assert total is not None
        return total.argmax(1)

    def labels(self, activations: Mapping[int, torch.Tensor], impl: Impl = "auto") -> torch.Tensor:
        """(B, h, w) int64 class of every pixel; arguments as `segment`'s."""
        found = [activations[i] for i in self.layer_indices if i in activations]
        library = kernels(impl, *found) if len(found) == len(self.layers) else None
        if library and self._kernel_takes(library, found):
            return self._segmenter(library).labels(found)
        clusters = self.cluster_labels(activations)
        return self.class_of_cluster.to(clusters.device)[clusters]

    def _kernel_takes(self, library: ctypes.CDLL, found: list[torch.Tensor]) -> bool:
        sizes = {tuple(x.shape[2:]) for x in found}
        return sizes == {(self.size, self.size)} and segmentation.fits(library, self.channels)

    def _segmenter(self, library: ctypes.CDLL) -> segmentation.Segmenter:
        made = self.__dict__.get("_made")
        if made is None:
            made = segmentation.Segmenter(
                library, self.centroids, self.class_of_cluster, self.channels, self.weights
            )
            self.__dict__["_made"] = made
        return made

    def segment(self, activations: Mapping[int, torch.Tensor], impl: Impl = "auto") -> torch.Tensor:
        """Class masks U of Eq. 1.

        Args:
            activations: (B, C, H, W) by style-layer index, as `Generator.activations` yields
                them; those of `needed_layers` must be there.
            impl: the kernel of `ris.ops.segmentation` or plain tensor operations.

        Returns:
            (B, K, h, w) float32, one-hot over the K classes.
        """
        labels = self.labels(activations, impl)
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
                f"{FORMAT}",
                REFIT,
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
            raise MismatchError(f"the catalogue cannot be used ({error})", REFIT) from error


def pixel_features(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, C, H, W) activation, instance-normalised, and its length (B, 1, H, W) at each pixel."""
    x = x - x.mean((2, 3), keepdim=True)
    x *= (x.square().mean((2, 3), keepdim=True) + 1e-5).rsqrt_()
    return x, x.square().sum(1, keepdim=True).sqrt_().clamp_min_(1e-6)


def resize(x: torch.Tensor, size: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, size, size): bilinear upwards, mean of the pixels downwards."""
    if x.shape[-1] == size:
        return x
    if x.shape[-1] > size:
        return F.interpolate(x, size=(size, size), mode="area")
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
