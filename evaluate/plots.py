"""Figures of results, as files. Drawn with matplotlib's objects, which need no display."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ris.data.durable import disk_error, replacing
from ris.errors import InputError
from ris.evaluate.extras import needs
from ris.evaluate.representations import FEATURES
from ris.ingest.pictures.formats import DRAWN_NOTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ris.evaluate.ablation import AblationResult
    from ris.evaluate.ams import AmsResult
    from ris.evaluate.attributes import AttributesResult
    from ris.evaluate.frechet import FrechetResult
    from ris.evaluate.submembership import SubmembershipResult
    from ris.evaluate.trsi import TrsiResult

SUFFIXES = (".png", ".svg")
WIDTH, HEIGHT = 6.4, 4.0
"""Inches of a figure."""
DPI = 120


def check_plot(path: Path) -> None:
    """Refuses a plot that could not be written, before anything is computed for it.

    Raises:
        InputError: another suffix, or matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a plot is written as .png or .svg")
    with needs("matplotlib"):
        _import_matplotlib()


def _import_matplotlib() -> None:
    """Imports matplotlib whatever ``MPLBACKEND`` says.

    A notebook sets the variable to a backend that draws in it. A command that is run from there
    inherits it, may lack that backend, and needs none; matplotlib would refuse to be imported.
    """
    if sys.modules.get("matplotlib") is not None:
        return
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named is not None:
        with contextlib.suppress(ValueError):  # not to be had here
            matplotlib.rcParams["backend"] = named


def write_plot(path: Path, draw: Callable[[Figure], None], width: float = WIDTH) -> None:
    """Writes one figure; folders are made.

    Args:
        path: .png or .svg.
        draw: draws on the figure.
        width: inches.

    Raises:
        InputError: see `check_plot`.
        StoreError: it cannot be written.
    """
    check_plot(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, HEIGHT), dpi=DPI, layout="constrained")
    draw(figure)
    kind = path.suffix.lower()[1:]
    # no time of writing in the file: the same result gives the same file
    stamp = {"Date": None} if kind == "svg" else {"Description": DRAWN_NOTE}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "ris"}), replacing(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=stamp)
    except OSError as e:
        raise disk_error(e, path) from e


def trsi_plot(result: TrsiResult, path: Path) -> None:
    """Box plot of TRSI-IoU, a query's mean over pairs of features, by representation (Fig. 8).

    Boxes hold the median and the quartiles, whiskers the 5th to 95th percentile, points are means.
    Representations that are the same for every feature are always at 1 and left out.
    """
    names = [name for name in result.iou if result.by_query(name).min() < 1]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.boxplot(
            [result.by_query(name) for name in names],
            tick_labels=[name.replace(" ", "\n", 1) for name in names],
            whis=(5, 95),
            showfliers=False,
            showmeans=True,
            widths=0.6,
            medianprops={"color": "#b03a2e"},
            meanprops={"marker": "o", "markersize": 4, "markerfacecolor": "black"},
        )
        axes.set_ylabel(f"TRSI-IoU@{result.k}")

    write_plot(path, draw, 1 + 0.9 * len(names))


def ams_plot(result: AmsResult, path: Path) -> None:
    """Bars of chance-corrected AMS (rule ``mean``) by feature, one a representation."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        width = 0.8 / len(result.names)
        for i, name in enumerate(result.names):
            values = [result.matches[name, f, "mean"].corrected for f in FEATURES]
            offset = (i - (len(result.names) - 1) / 2) * width
            axes.bar([j + offset for j in range(len(FEATURES))], values, width, label=name)
        axes.set_xticks(range(len(FEATURES)), FEATURES)
        axes.set_ylabel(f"AMS@{result.k}, corrected for chance")
        axes.legend(fontsize=7, ncols=2, frameon=False)

    write_plot(path, draw, 1.4 * WIDTH)


def ablation_plot(result: AblationResult, path: Path) -> None:
    """Every variant by what it mixes up (TRSI-IoU) and what it finds (mean corrected AMS)."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for i, name in enumerate(result.ams.names):
            x, y = result.trsi.mean(name), result.found(name)
            axes.scatter(x, y, s=26 if i == 0 else 12, color="#b03a2e" if i == 0 else "#1f77b4")
            axes.annotate(name, (x, y), xytext=(3, 2), textcoords="offset points", fontsize=6)
        axes.set_xlabel(f"TRSI-IoU@{result.ams.k} (features mixed)")
        axes.set_ylabel(f"mean AMS@{result.ams.k}, corrected for chance")

    write_plot(path, draw, 1.4 * WIDTH)


def attributes_plot(report: AttributesResult, path: Path) -> None:
    """AUC of each attribute as a bar, best first, and its accuracy as a point (Fig. 13)."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        known = [i for i, x in enumerate(report.auc) if math.isfinite(x)]
        order = sorted(known, key=lambda i: -report.auc[i])
        places = range(len(order))
        axes.bar(places, [report.auc[i] for i in order], color="#9bbfd9", label="AUC")
        axes.plot(places, [report.accuracy[i] for i in order], "k.", label="accuracy")
        axes.set_xticks(places, [report.attributes[i] for i in order], rotation=90, fontsize=6)
        axes.set_ylim(0.5, 1)
        axes.legend(fontsize=8, loc="lower left")

    write_plot(path, draw, 1.6 * WIDTH)


def submembership_plot(result: SubmembershipResult, path: Path) -> None:
    """Shares of common top channels over the number of clusters, a line for each feature.

    Left what two clusters share, right what all do; dashed: groups of the same sizes at random.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for feature, found in result.ratios.items():
            counts = [r.clusters for r in found]
            for axes, own, random in (
                (left, [r.ratio for r in found], [r.random for r in found]),
                (right, [r.common for r in found], [r.random_common for r in found]),
            ):
                (line,) = axes.plot(counts, own, marker="o", markersize=4, label=feature)
                axes.plot(counts, random, "--", color=line.get_color(), linewidth=0.9)
        counts = sorted({r.clusters for found in result.ratios.values() for r in found})
        for axes, title in ((left, "two clusters, mean over pairs"), (right, "all clusters")):
            axes.set_xscale("log")
            axes.set_xticks(counts, [str(c) for c in counts])
            axes.minorticks_off()
            axes.set_ylim(0, 1)
            axes.set_xlabel("clusters of faces")
            axes.set_title(title, fontsize=10)
        left.set_ylabel(f"share of top {result.top} channels in common")
        left.plot([], [], "--", color="grey", linewidth=0.9, label="random groups")
        left.legend(fontsize=8)

    write_plot(path, draw, 1.4 * WIDTH)


def frechet_plot(results: Mapping[str, FrechetResult], path: Path) -> None:
    """Distances over 1/n and the lines through them, which end at the extrapolated distance.

    Args:
        results: by the name in the legend; all with features of one extractor.
        path: .png or .svg.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name, result in results.items():
            x = [1 / n for n in result.sizes]
            points = axes.scatter(x, result.distances, s=14, label=name)
            ends = [0.0, max(x)]
            line = result.line
            colour = points.get_facecolor()[0]
            axes.plot(ends, [line.intercept + line.slope * e for e in ends], color=colour, lw=1)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=min([0.0, *(r.line.intercept for r in results.values())]))
        axes.set_xlabel("1 / pictures in a set")
        axes.set_ylabel("Fréchet distance")
        axes.set_title(next(iter(results.values())).extractor, fontsize=9)
        axes.legend()

    write_plot(path, draw)
