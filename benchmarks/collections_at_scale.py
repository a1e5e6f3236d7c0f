"""Masked vectors of as many faces as one likes, in the likeness of real ones.

    python -m benchmarks.collections_at_scale --store out/celeba/.ris --feature eyes --mask hard

compares rows made up with rows of the store.

A row is the child of three faces of the stores. In every style layer it takes their normalised
sigma and the log-odds of their masks (log q - log(1 - q), from the contribution scores), each
mixed by weights that lie around those of the whole row, and spread out again by the root of the
weights' squares, because a plain mean of faces is closer to the average face than faces are.
The mask and the vector are then made of the mixtures as `ris.method.masks` and
`ris.method.representation` make them of a face. No row is a face of the store or a slightly
disturbed one, and no two rows share a layer. How alike the two populations are is what this
module's command prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.arguments import parser_of
from ris.data.row_tensors import row_tensors
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.method.masks import POSE, class_row, eligible_channels
from ris.method.normaliser import Normaliser, StyleStatistics
from ris.method.representation import DEFAULT_MASK, DEFAULT_NORM

PARENTS = 3
BLOCK = 2048
THRESHOLD, LEAST = 0.8, 16  # of `ris.method.masks.MaskOptions`
CONCENTRATION = 0.6  # of the parents' weights: below 1 one parent prevails
JITTER = 12.0  # concentration of a layer's weights around the row's


class Population:
    """What rows of one feature are made of.

    Args:
        stores: with the same settings.
        feature: name.
        mask: ``soft`` or ``hard``.
    """

    def __init__(self, stores: Sequence[Store], feature: str, mask: str) -> None:
        settings = stores[0].settings
        layout = settings.covered
        statistics = StyleStatistics(settings.layout.channels)
        for store in stores:
            statistics.merge(style_statistics(store))
        normaliser = Normaliser.fit(DEFAULT_NORM, statistics, layout)
        keep = eligible_channels(layout, feature)
        own = class_row(settings.classes, feature)
        sign = -1 if feature == POSE else 1
        sigma, odds = [], []
        for store in stores:
            for batch in store.batches(["sigma", "scores"]):
                styles, scores = row_tensors(batch, settings)
                scores = scores[:, :, keep] / DEFAULT_MASK.tau
                others = torch.cat((scores[:, :own], scores[:, own + 1 :]), 1).logsumexp(1)
                sigma.append(normaliser(styles)[:, keep])
                odds.append(sign * (scores[:, own] - others))
        self.mask, self.feature = mask, feature
        self.sigma, self.odds = torch.cat(sigma), torch.cat(odds)
        layers = torch.from_numpy(layout.layer_of_channel)[keep]
        self._layers = [torch.nonzero(layers == i)[:, 0] for i in layers.unique()]
        self._split = [
            [(values - values.mean(0))[:, part].contiguous() for part in self._layers]
            for values in (self.sigma, self.odds)
        ]
        self.dims = int(keep.sum())

    def __len__(self) -> int:
        return len(self.sigma)

    def real(self) -> np.ndarray:
        """(n, D) float32 vectors of the stores' faces that show the feature."""
        rows = self._vectors(self.sigma, self.odds)
        return rows[np.abs(rows).max(axis=1) > 0]

    def blocks(self, rows: int, seed: int = 0) -> Iterator[np.ndarray]:
        """(n, D) float32 vectors of new faces, at most `BLOCK` at a time, `rows` in all."""
        rng = np.random.default_rng(seed)
        made = 0
        while made < rows:
            block = self._children(rng, BLOCK)
            block = block[np.abs(block).max(axis=1) > 0][: rows - made]
            made += len(block)
            yield block

    def _children(self, rng: np.random.Generator, count: int) -> np.ndarray:
        parents = torch.from_numpy(rng.integers(len(self), size=(count, PARENTS)))
        weights = rng.dirichlet([CONCENTRATION] * PARENTS, count).astype(np.float32)
        mixed = [torch.empty(count, self.dims) for _ in self._split]
        for i, part in enumerate(self._layers):
            own = rng.standard_gamma(JITTER * weights + 1e-3).astype(np.float32)
            own /= np.linalg.norm(own, axis=1, keepdims=True)
            shares = torch.from_numpy(own)
            for out, layers in zip(mixed, self._split, strict=True):
                out[:, part] = torch.nn.functional.embedding_bag(
                    parents, layers[i], mode="sum", per_sample_weights=shares
                )
        sigma, odds = (
            values.add_(whole.mean(0))
            for values, whole in zip(mixed, (self.sigma, self.odds), strict=True)
        )
        return self._vectors(sigma, odds)

    def _vectors(self, sigma: torch.Tensor, odds: torch.Tensor) -> np.ndarray:
        q = torch.sigmoid(odds)
        if self.mask == "hard":
            limit = 1 - THRESHOLD if self.feature == POSE else THRESHOLD
            hard = q >= limit if self.feature == POSE else q > limit
            if self.feature != POSE:
                few = torch.nonzero(hard.sum(1) < LEAST)[:, 0]
                best = q[few].topk(min(LEAST, self.dims), dim=1).indices
                hard[few] = hard[few].scatter(1, best, torch.ones_like(best, dtype=torch.bool))
            q = hard.float()
        return (q * sigma).numpy()


def likeness(rows: np.ndarray) -> dict[str, list[float]]:
    """Numbers by which populations of the same size are compared.

    Args:
        rows: (n, D) float32.

    Returns:
        quantiles (5, 50, 95 %) over rows of the cosine with the tenth nearest and the tenth
        furthest other row and of the number of channels used, over pairs of the cosine; the
        share of the energy in the 16, 64 and 256 strongest channels and principal directions.
    """
    used = np.count_nonzero(rows, axis=1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, np.nan)
    ordered = np.sort(cosines, axis=1)[:, :-1]  # NaN comes last
    pairs = cosines[np.triu_indices(len(rows), 1)][::7]
    energy = np.sort(np.square(rows).mean(axis=0))[::-1].cumsum()
    spectrum = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1].cumsum()
    marks = (5, 50, 95)
    strongest = np.array([16, 64, 256]) - 1
    return {
        "nearest": np.percentile(ordered[:, -10], marks).tolist(),
        "furthest": np.percentile(ordered[:, 9], marks).tolist(),
        "pairs": np.percentile(pairs, marks).tolist(),
        "channels used": np.percentile(used, marks).tolist(),
        "energy of channels": energy[strongest].tolist(),
        "energy of directions": spectrum[strongest].tolist(),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, list[float]]]:
    """Prints both populations' numbers side by side."""
    parser = parser_of(__doc__)
    parser.add_argument("--store", type=Path, nargs="+", required=True)
    parser.add_argument("--feature", default="eyes")
    parser.add_argument("--mask", choices=["soft", "hard"], default="soft")
    parser.add_argument("--rows", type=int, default=4000, help="compared at most")
    options = parser.parse_args(arguments)
    stores = [Store.open(path) for path in options.store]
    population = Population(stores, options.feature, options.mask)
    real = population.real()[:: max(1, len(population) // options.rows)][: options.rows]
    made = np.concatenate(list(population.blocks(len(real))))
    result = {"real": likeness(real), "made": likeness(made)}
    print(f"{options.feature} {options.mask}: {len(real)} rows each")
    for name, values in result["real"].items():
        other = result["made"][name]
        texts = [" ".join(f"{v:8.3f}" for v in part) for part in (values, other)]
        print(f"{name:<22} real {texts[0]}   made {texts[1]}")
    return result


if __name__ == "__main__":
    main()
