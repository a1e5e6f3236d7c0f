"""The paper's measures on a collection of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.choices import LabelSource, NormMode
from ris.door.model_settings import PathLike
from ris.door.words import Progress, stage
from ris.errors import InputError

if TYPE_CHECKING:
    from ris.data.store import Store
    from ris.evaluate.ablation import AblationResult
    from ris.evaluate.ams import AmsResult
    from ris.evaluate.attributes import AttributesResult
    from ris.evaluate.frechet import FrechetResult
    from ris.evaluate.submembership import SubmembershipResult
    from ris.evaluate.trsi import TrsiResult

PAPER_FEATURES = ("eyes", "nose", "mouth", "hair")
CLUSTERS = (2, 5, 10, 20, 50, 100)


class Evaluation:
    """Measures of one collection. Every result has `to_dict` and `table` (Markdown); `plot` names
    a figure to write beside (.png or .svg).
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def trsi(
        self,
        *,
        k: int = 5,
        queries: int = 1000,
        identity: str | None = None,
        rivals: bool = False,
        norm: NormMode = "blend",
        seed: int = 0,
        plot: PathLike | None = None,
        progress: Progress | None = None,
    ) -> TrsiResult:
        """TRSI-IoU: do two features of a face find different people? Lower is better.

        Args:
            k: size of the retrieved sets.
            queries: number of query faces, 0 for all.
            identity: column of the metadata that says who a face is; None: all differ.
            rivals: also rank by embeddings of the photos, and by chance.
            norm: how sigma is normalised over the collection.
            seed: which faces are queries.
            plot: figure to write.
            progress: called as ``progress("ranking", done, total)``.

        Raises:
            InputError: too few faces, a face without identity, or matplotlib or scipy is missing.

        Example:
            >>> faces.evaluation.trsi(k=2, queries=4).k
            2
        """
        from ris.evaluate.plots import check_plot, trsi_plot
        from ris.evaluate.retrieval import rank_store, row_ids
        from ris.evaluate.rivals import compared
        from ris.evaluate.trsi import identities, trsi

        figure = _figure(plot, check_plot)
        people = identities(self._store, row_ids(self._store), identity)
        told = stage(progress, "ranking")
        ways = compared(norm, rivals=rivals, progress=told)
        found = rank_store(self._store, ways, k=k, queries=queries, seed=seed, progress=told)
        result = trsi(found, people)
        if figure:
            trsi_plot(result, figure)
        return result

    def ams(
        self,
        *,
        k: int = 5,
        queries: int = 500,
        rivals: bool = False,
        labels: LabelSource = "truth",
        norm: NormMode = "blend",
        seed: int = 0,
        plot: PathLike | None = None,
        progress: Progress | None = None,
    ) -> AmsResult:
        """Attribute Matching Score: do faces found by a feature share its attributes?

        Args:
            k: results for each query.
            queries: number of query faces, 0 for all.
            rivals: also rank by embeddings of the photos, and by chance.
            labels: ``truth``: CelebA's columns in the metadata; ``predicted``: a classifier's view
                of the photos.
            norm: how sigma is normalised over the collection.
            seed: which faces are queries.
            plot: figure to write.
            progress: called with ``"reading labels"``, then ``"ranking"``.

        Raises:
            InputError: too few faces, columns that are missing, or no matplotlib.
        """
        from ris.evaluate.ams import LABELS, ams
        from ris.evaluate.attribute_labels import predicted_labels, read_labels
        from ris.evaluate.plots import ams_plot, check_plot
        from ris.evaluate.retrieval import rank_store, row_ids
        from ris.evaluate.rivals import compared

        figure, store = _figure(plot, check_plot), self._store
        if labels == "predicted":
            told = stage(progress, "reading labels")
            known = predicted_labels(store, store.manifest(), LABELS, progress=told)
        else:
            known = read_labels(store, row_ids(store), LABELS)
        told = stage(progress, "ranking")
        ways = compared(norm, rivals=rivals, progress=told)
        found = rank_store(store, ways, k=k, queries=queries, seed=seed, progress=told)
        result = ams(found, known)
        if figure:
            ams_plot(result, figure)
        return result

    def ablation(
        self,
        *,
        k: int = 5,
        queries: int = 500,
        identity: str | None = None,
        seed: int = 0,
        plot: PathLike | None = None,
        progress: Progress | None = None,
    ) -> AblationResult:
        """What masks, temperature, normalisation and channels change, by TRSI-IoU and AMS.

        Args:
            k: results for each query.
            queries: number of query faces, 0 for all.
            identity: column of the metadata that says who a face is; None: all differ.
            seed: which faces are queries.
            plot: figure to write.
            progress: called as ``progress("ranking", done, total)``.

        Raises:
            InputError: too few faces, columns that are missing, or no matplotlib.
        """
        from ris.evaluate.ablation import AblationResult, variants
        from ris.evaluate.ams import LABELS, ams
        from ris.evaluate.attribute_labels import read_labels
        from ris.evaluate.plots import ablation_plot, check_plot
        from ris.evaluate.retrieval import rank_store, row_ids
        from ris.evaluate.trsi import identities, trsi

        figure, store = _figure(plot, check_plot), self._store
        ids = row_ids(store)
        people, labels = identities(store, ids, identity), read_labels(store, ids, LABELS)
        told = stage(progress, "ranking")
        found = rank_store(store, variants, k=k, queries=queries, seed=seed, progress=told)
        result = AblationResult(trsi(found, people), ams(found, labels))
        if figure:
            ablation_plot(result, figure)
        return result

    def attributes(
        self, *, plot: PathLike | None = None, progress: Progress | None = None
    ) -> AttributesResult:
        """How often the attribute classifier is right, against CelebA's columns in the metadata.

        Args:
            plot: figure to write.
            progress: called as ``progress("reading photos", done, total)``.

        Raises:
            InputError: there are no such columns, or no matplotlib.
        """
        from ris.evaluate.attributes import evaluate_attributes
        from ris.evaluate.plots import attributes_plot, check_plot

        figure = _figure(plot, check_plot)
        report = evaluate_attributes(self._store, progress=stage(progress, "reading photos"))
        if figure:
            attributes_plot(report, figure)
        return report

    def submembership(
        self,
        features: Sequence[str] = PAPER_FEATURES,
        clusters: Sequence[int] = CLUSTERS,
        *,
        top: int = 100,
        faces: int = 10_000,
        seed: int = 0,
        plot: PathLike | None = None,
        progress: Progress | None = None,
    ) -> SubmembershipResult:
        """Clusters faces by their scores of a feature: how many top channels do clusters share?

        Args:
            features: which.
            clusters: numbers of clusters.
            top: channels taken of each cluster.
            faces: faces read at most, 0 for all.
            seed: of the draw and of k-means.
            plot: figure to write.
            progress: called as ``progress("clustering", done, total)``.

        Raises:
            InputError: an unknown feature, too few faces, or no matplotlib.
        """
        from ris.evaluate.plots import check_plot, submembership_plot
        from ris.evaluate.submembership import evaluate_submembership

        figure = _figure(plot, check_plot)
        result = evaluate_submembership(
            self._store,
            features=list(features),
            clusters=list(clusters),
            top=top,
            faces=faces,
            seed=seed,
            progress=stage(progress, "clustering"),
        )
        if figure:
            submembership_plot(result, figure)
        return result

    def cluster_sheet(
        self,
        path: PathLike,
        features: Sequence[str] = PAPER_FEATURES,
        clusters: Sequence[int] = CLUSTERS,
        *,
        faces: int = 10_000,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Draws the faces of one feature's clusters.

        Args:
            path: picture to write.
            features: one.
            clusters: one number of clusters.
            faces: faces read at most, 0 for all.
            seed: of the draw and of k-means.

        Returns:
            what was drawn, ready for JSON.

        Raises:
            InputError: several features or numbers, or another suffix.
        """
        from ris.evaluate.cluster_sheet import make_sheet

        names, counts = list(features), list(clusters)
        return make_sheet(self._store, names, counts, Path(path), faces=faces, seed=seed)


def frechet(
    first: PathLike,
    second: PathLike,
    *,
    weights: PathLike | None = None,
    sizes: int = 10,
    share: float = 0.5,
    seed: int = 0,
    plot: PathLike | None = None,
    progress: Progress | None = None,
) -> FrechetResult:
    """Fréchet distance of two sets of pictures in a network's features, without the bias of size.

    Args:
        first: photos (a folder, a pattern), a collection's folder, or features (.npz).
        second: what to compare them with, likewise.
        weights: Inception-v3's, to compare in its features (.pth, .pt, .safetensors); None: in
            EfficientNet-Lite0's.
        sizes: numbers of pictures to compare at.
        share: the smallest, as a share of the sets.
        seed: which pictures are in the smaller parts.
        plot: figure to write (.png or .svg).
        progress: called as ``progress("reading photos", done, total)``.

    Raises:
        InputError: nothing under a name, too few pictures, or no matplotlib.
        MismatchError: features of different networks.
    """
    from ris.ingest.sources.folders import is_pattern

    names = str(first), str(second)
    for name in names:
        if not is_pattern(name) and not Path(name).expanduser().exists():
            raise InputError(f"no file or folder {name}")
    from ris.evaluate.embeddings import InceptionPool
    from ris.evaluate.frechet import evaluate_frechet
    from ris.evaluate.plots import check_plot, frechet_plot

    figure = _figure(plot, check_plot)
    result = evaluate_frechet(
        *names,
        sizes=sizes,
        share=share,
        seed=seed,
        network=InceptionPool(Path(weights)) if weights else None,
        progress=stage(progress, "reading photos"),
    )
    if figure:
        frechet_plot({f"{first} - {second}": result}, figure)
    return result


def _figure(plot: PathLike | None, check: Callable[[Path], None]) -> Path | None:
    """Where a figure goes; refuses what cannot be one before anything is measured."""
    if plot is None:
        return None
    check(Path(plot))
    return Path(plot)
