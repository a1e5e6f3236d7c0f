"""The kernel behind `ris.method.catalogue`: the class of every pixel, by the nearest cluster
centre.

On processors that multiply bytes (AVX-512 VNNI) products are taken in eight bits first, at four
times the speed; only pixels whose class the rounding could change, by a bound that always holds,
are done again in float32. Labels are those of float32 arithmetic everywhere.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from ctypes import c_float, c_long, c_void_p

import torch

from ris.ops.calls import address, as_channels_last, check_shape, run, threads


def fits(library: ctypes.CDLL, channels: Sequence[int]) -> bool:
    """Whether the kernel takes layers of these widths."""
    most, step = library.ris_separable_depth(), library.ris_separable_step()
    return all(c <= most and c % step == 0 for c in channels)


class Segmenter:
    """Cluster centres as the kernel wants them.

    Args:
        library: the kernels.
        centroids: (n, D), class_of_cluster (n,), channels (that sum to D) and weights of the
            layers: as in `ris.method.catalogue.FeatureCatalogue`; for channels that `fits` takes.

    Raises:
        ValueError: they do not fit each other, or a centre is not finite.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        centroids: torch.Tensor,
        class_of_cluster: torch.Tensor,
        channels: Sequence[int],
        weights: Sequence[float],
    ) -> None:
        self._library, self._channels = library, tuple(channels)
        centroids = centroids.detach().cpu().float().contiguous()
        classes = class_of_cluster.cpu().long().contiguous()
        check_shape("a table of centres", centroids, (None, sum(channels)))
        if not fits(library, channels) or len(weights) != len(channels):
            raise ValueError(f"no kernel for layers of {self._channels} channels")
        if classes.shape != centroids.shape[:1] or not bool(centroids.isfinite().all()):
            raise ValueError("every centre is finite and has a class")
        library.ris_segmenter.restype = c_void_p
        handle = library.ris_segmenter(
            c_long(len(channels)),
            (c_long * len(channels))(*channels),
            (c_float * len(weights))(*weights),
            c_long(len(centroids)),
            address(centroids),
            address(classes),
        )
        if handle is None:
            raise MemoryError("no memory left for the cluster centres")
        self._handle = c_void_p(handle)
        weakref.finalize(self, library.ris_segmenter_free, self._handle)

    def labels(self, activations: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, C, H, W) of every layer, all of one size -> (B, H, W) int64 classes."""
        layers = [as_channels_last(x) for x in activations]
        b, _, height, width = layers[0].shape
        for layer, channels in zip(layers, self._channels, strict=True):
            check_shape("an activation", layer, (b, channels, height or None, width or None))
        labels = torch.empty(b, height, width, dtype=torch.int64)
        for i, out in enumerate(labels):
            images = (c_void_p * len(layers))(*(x[i].data_ptr() for x in layers))
            pixels = c_long(height * width)
            run(self._library.ris_labels, self._handle, images, pixels, address(out), threads())
        return labels
