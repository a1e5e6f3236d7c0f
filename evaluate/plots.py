"""Figures of the measures; matplotlib without a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evaluate.extras import needs
from evaluate.representations import FEATURES
from ris.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evaluate.ams import AmsResult
    from evaluate.trsi import TrsiResult

SUFFIXES = (".png", ".svg", ".pdf")


def check_figure(path: Path | None) -> None:
    """Before long work: can a figure be drawn there?

    Raises:
        InputError: another suffix, a folder that is not there, or matplotlib is missing.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a figure is one of {', '.join(SUFFIXES)}, not {path.name}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for {path.name}")
    with needs("matplotlib"):
        import matplotlib.figure  # noqa: F401


def axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one plot, in inches.

    Raises:
        InputError: matplotlib is missing.
    """
    with needs("matplotlib"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    plot = figure.add_subplot()
    plot.spines[["top", "right"]].set_visible(False)
    return figure, plot


def draw_trsi(result: TrsiResult, path: Path) -> None:
    """Box plot by representation of TRSI-IoU, a query's mean over pairs (Fig. 8): median,
    quartiles, whiskers from the 5th to the 95th percentile, means as points."""
    names = list(result.iou)
    figure, plot = axes(1 + 0.9 * len(names), 3.6)
    plot.boxplot(
        [result.by_query(name) for name in names],
        tick_labels=[name.replace(" ", "\n", 1) for name in names],
        whis=(5, 95),
        showfliers=False,
        showmeans=True,
        widths=0.6,
        medianprops={"color": "#b03a2e"},
        meanprops={"marker": "o", "markersize": 4, "markerfacecolor": "black"},
    )
    plot.set_ylabel(f"TRSI-IoU@{result.k}")
    figure.savefig(path, dpi=130)


def draw_ams(result: AmsResult, path: Path) -> None:
    """Bars of chance-corrected AMS (mean rule), by feature and representation."""
    figure, plot = axes(9, 3.6)
    names = result.names
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        values = [result.matches[name, f, "mean"].corrected for f in FEATURES]
        places = [j + (i - (len(names) - 1) / 2) * width for j in range(len(FEATURES))]
        plot.bar(places, values, width, label=name)
    plot.set_xticks(range(len(FEATURES)), FEATURES)
    plot.set_ylabel(f"AMS@{result.k}, corrected for chance")
    plot.legend(fontsize=7, ncols=2, frameon=False)
    figure.savefig(path, dpi=130)
