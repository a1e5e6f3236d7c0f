"""Do groups of faces use channels of their own (paper, section 4, Fig. 9)?

For a feature k the faces are clustered by their rows M_k of contribution scores (Eq. 1), by
spherical k-means: rows are faces, columns the channels that k's mask may use (Eq. 5). A
cluster's centre is the mean of its faces' unit rows, brought to unit length; its `top` highest
channels are the cluster's. Two ratios say what clusters share of these: the *intersection ratio*
of K clusters is the mean over all pairs of clusters of what both have, the *common ratio* what
all K have. The second falls as K grows wherever clusters differ at all; the first need not, since
with K = 2 the only pair is the one that k-means found to be furthest apart.

Small groups differ by chance too. So both stand beside those of random groups: the same faces
dealt at random into groups of the same sizes.

The pose has no scores of its own (its mask is what hair leaves of the early layers, Eq. 5), so
there is nothing of it to cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from ris.data import shards
from ris.data.manifest import Manifest, StoreSettings
from ris.data.store import Store
from ris.errors import InputError
from ris.evaluate.markdown import markdown_table
from ris.evaluate.representations import FEATURES
from ris.method.kmeans import nearest, spherical_kmeans
from ris.method.masks import POSE, class_row, eligible_channels, features_of

CLUSTERS = (2, 5, 10, 20, 50, 100)
TOP = 100
FACES = 10_000
"""Faces that are read at most, unless told otherwise. Their scores for one feature stay in memory
as float16, and seeding k-means takes copies in float32: 0.6 GB for the 6,272 channels of hair."""


def top_channels(centres: torch.Tensor, count: int) -> torch.Tensor:
    """(K, C) centres of score vectors -> (K, count) int64 channels of the highest scores.

    Equal scores go to the channel that comes first.

    Raises:
        ValueError: the centres have fewer channels than that, or count is below 1.
    """
    if not 1 <= count <= centres.shape[1]:
        raise ValueError(f"cannot take the top {count} of {centres.shape[1]} channels")
    return centres.argsort(dim=1, descending=True, stable=True)[:, :count]


def intersection_ratio(tops: torch.Tensor) -> float:
    """Share of their top channels that groups have in common: mean over pairs of groups of
    |top(a) and top(b)| / count, 1 if all have the same, 0 if no two share any.

    Args:
        tops: (K, count) channel numbers, each row without repetition; K is 2 or more.

    Raises:
        ValueError: fewer than two groups.
    """
    groups, count = tops.shape
    member = _member(tops)
    shared = (member @ member.T).double()  # [K, K], exact: whole numbers up to `count`
    pairs = groups * (groups - 1)
    return float((shared.sum() - shared.diagonal().sum()) / (pairs * count))


def common_ratio(tops: torch.Tensor) -> float:
    """Share of their top channels that *all* groups have in common, in [0, 1].

    Args:
        tops: as `intersection_ratio`'s.

    Raises:
        ValueError: fewer than two groups.
    """
    return float(_member(tops).bool().all(0).sum()) / tops.shape[1]


def _member(tops: torch.Tensor) -> torch.Tensor:
    """(K, C) float32: 1 where a channel is among a group's."""
    if len(tops) < 2:
        raise ValueError(f"an intersection takes two groups at least, not {len(tops)}")
    return torch.zeros(len(tops), int(tops.max()) + 1).scatter_(1, tops, 1.0)


def group_means(
    rows: torch.Tensor, labels: torch.Tensor, groups: int, batch: int = 4096
) -> torch.Tensor:
    """(K, C) float32 directions of groups: sums of their unit rows, as spherical k-means has it.

    Args:
        rows: (N, C) scores of any float type; widened `batch` rows at a time.
        labels: (N,) int64 group of each row.
        groups: K; a group without rows gives zeros.
        batch: rows widened at once.
    """
    sums = torch.zeros(groups, rows.shape[1])
    for start in range(0, len(rows), batch):
        part = torch.nn.functional.normalize(rows[start : start + batch].float(), dim=1)
        sums.index_add_(0, labels[start : start + batch], part)
    return torch.nn.functional.normalize(sums, dim=1)


@dataclass(frozen=True)
class Ratio:
    """One number of clusters.

    Attributes:
        clusters: K.
        ratio: intersection ratio of pairs of clusters, in [0, 1].
        common: common ratio of all clusters, in [0, 1].
        random: intersection ratio of groups of the same sizes drawn at random.
        random_common: their common ratio.
        smallest: faces of the smallest cluster.
    """

    clusters: int
    ratio: float
    common: float
    random: float
    random_common: float
    smallest: int


@dataclass(frozen=True)
class SubmembershipResult:
    """Intersection ratios by feature and number of clusters.

    Attributes:
        top: channels taken of each cluster.
        seed: of the draw and of k-means.
        faces: faces that were clustered, by feature; those that do not show it are left out.
        ratios: feature -> one entry for each K, ascending.
    """

    top: int
    seed: int
    faces: dict[str, int]
    ratios: dict[str, list[Ratio]]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return {
            "top": self.top,
            "seed": self.seed,
            "features": {
                feature: {"faces": self.faces[feature], "ratios": [vars(r) for r in found]}
                for feature, found in self.ratios.items()
            },
        }

    def table(self) -> str:
        """Two Markdown tables, a row for each feature; in brackets the ratios of random groups."""
        titles = {
            "two clusters": [(r.clusters, r.ratio, r.random) for r in self._all()],
            "all clusters": [(r.clusters, r.common, r.random_common) for r in self._all()],
        }
        return "\n\n".join(self._one_table(*entry) for entry in titles.items())

    def _all(self) -> list[Ratio]:
        return [r for found in self.ratios.values() for r in found]

    def _one_table(self, who: str, values: list[tuple[int, float, float]]) -> str:
        counts = sorted({count for count, _, _ in values})
        rows = []
        rest = iter(values)
        for feature in self.ratios:
            cells = [f"{own:.3f} ({random:.3f})" for _, own, random in islice(rest, len(counts))]
            rows.append([feature, str(self.faces[feature]), *cells])
        title = (
            f"share of the top {self.top} channels that {who} have in common; in brackets random "
            "groups of the same sizes"
        )
        names = ["feature", "faces", *(f"K = {c}" for c in counts)]
        return markdown_table(names, rows, title=title)


@dataclass(frozen=True)
class FeatureRows:
    """Scores of one feature.

    Attributes:
        scores: (N, C'') float16 M_k over the channels that the feature's mask may use.
        numbers: (N,) int64 rows of the faces within the store.
    """

    scores: torch.Tensor
    numbers: np.ndarray


def check_feature(settings: StoreSettings, feature: str) -> None:
    """Raises `InputError` for a feature whose faces cannot be clustered."""
    if feature == POSE:
        raise InputError("the pose has no scores of its own: its mask is what hair leaves over")
    known = [f for f in features_of(settings.classes) if f != POSE]
    if feature not in known:
        raise InputError(f"unknown feature {feature!r}; known: {', '.join(known)}")


def draw_faces(total: int, faces: int, seed: int) -> np.ndarray:
    """(n,) int64 ascending rows of a store of `total`: all, or `faces` of them at random."""
    if faces <= 0 or faces >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, faces, replace=False))


def feature_rows(store: Store, manifest: Manifest, feature: str, chosen: np.ndarray) -> FeatureRows:
    """Reads the scores of one feature, in one pass over the store.

    Faces that do not show it (scores of 0 everywhere) are left out.

    Args:
        store: the collection.
        manifest: its state.
        feature: see `check_feature`.
        chosen: ascending rows of the store.
    """
    settings = manifest.settings
    layout = settings.covered
    channels = np.flatnonzero(eligible_channels(layout, feature).numpy())
    channels += class_row(settings.classes, feature) * layout.channels
    scores = np.empty((len(chosen), len(channels)), np.float16)
    start = filled = 0
    for batch in store.batches(["scores"], manifest):
        inside = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
        scores[filled : filled + len(inside)] = shards.vectors(batch, "scores")[inside][:, channels]
        start, filled = start + len(batch), filled + len(inside)
    shown = scores.any(axis=1)
    if not shown.all():
        scores, chosen = scores[shown], chosen[shown]
    return FeatureRows(torch.from_numpy(scores), chosen)


def ratio_of(rows: torch.Tensor, clusters: int, top: int, seed: int) -> Ratio:
    """Clusters score rows (N, C) and measures what the clusters have in common.

    Raises:
        ValueError: fewer rows than clusters, or fewer channels than `top`.
        InputError: the rows do not make two groups.
    """
    centres = spherical_kmeans(rows, clusters, seed=seed)
    labels = nearest(rows, centres)
    sizes = torch.bincount(labels, minlength=clusters)
    used = sizes > 0  # where rows repeat, a cluster may stay empty
    if int(used.sum()) < 2:
        raise InputError("all faces have the same scores: they make one group, not several")
    deal = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    random = group_means(rows, labels[deal], clusters)
    own, dealt = (top_channels(group[used], top) for group in (centres, random))
    return Ratio(
        clusters,
        intersection_ratio(own),
        common_ratio(own),
        intersection_ratio(dealt),
        common_ratio(dealt),
        int(sizes.min()),
    )


def evaluate_submembership(
    store: Store,
    *,
    features: Sequence[str] = FEATURES,
    clusters: Sequence[int] = CLUSTERS,
    top: int = TOP,
    faces: int = FACES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SubmembershipResult:
    """Intersection ratios of a store's faces.

    Args:
        store: the collection.
        features: any but the pose.
        clusters: numbers of clusters K, each 2 or more.
        top: channels taken of each cluster.
        faces: faces read at most, drawn at random; 0 for all. Memory: see `FACES`.
        seed: of the draw and of k-means.
        progress: called with clusterings done and clusterings in all.

    Raises:
        InputError: an unknown feature, too few faces or channels, or K below 2.
    """
    manifest = store.manifest()
    names, counts = list(dict.fromkeys(features)), sorted(set(clusters))
    if not names or not counts:
        raise InputError("name a feature and a number of clusters at least")
    if counts[0] < 2:
        raise InputError(f"clusters are compared in pairs: 2 at least, not {counts[0]}")
    for feature in names:
        check_feature(manifest.settings, feature)
    chosen = draw_faces(manifest.rows, faces, seed)
    shown: dict[str, int] = {}
    ratios: dict[str, list[Ratio]] = {}
    for feature in names:
        rows = feature_rows(store, manifest, feature, chosen).scores
        check_enough(rows, feature, counts[-1], top)
        shown[feature] = len(rows)
        ratios[feature] = []
        for count in counts:
            ratios[feature].append(ratio_of(rows, count, top, seed))
            if progress:
                progress(sum(map(len, ratios.values())), len(names) * len(counts))
    return SubmembershipResult(top, seed, shown, ratios)


def check_enough(rows: torch.Tensor, feature: str, clusters: int, top: int = 1) -> None:
    """Raises `InputError` when (N, C) rows are too few for so many clusters or top channels."""
    if len(rows) < clusters:
        raise InputError(f"{len(rows)} faces that show {feature} are too few for {clusters} groups")
    if not 1 <= top <= rows.shape[1]:
        raise InputError(f"{feature} has {rows.shape[1]} channels: cannot take the top {top}")
