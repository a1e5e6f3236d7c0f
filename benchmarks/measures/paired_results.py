"""Values of many pictures under several methods: kept between runs, averaged, as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from benchmarks.measures.measure import VERSION, Values
from benchmarks.measures.pixels import scaled
from ris.data.durable import replacing
from ris.evaluate.markdown import markdown_table
from ris.fingerprints import text_digest
from ris.images import to_pixels

SECONDS = "seconds"
"""Name of the value that tells how long a picture took."""
THUMBNAIL = 256
"""Pixels of a kept picture, from which sheets are made."""

Summary = dict[str, dict[str, dict[str, float]]]
"""Method -> value -> mean, median and n, the number of pictures that have it."""


class Made(Protocol):
    """What made a picture: a name for tables, and a hash of everything that changes it."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def fingerprint(self) -> str:
        """For keeping apart."""
        ...


class Results:
    """What is known of each photo under each method, kept in a folder.

    ``values.json`` and, for each result, a thumbnail of the picture in ``thumbnails/``. Photos go
    by the hex sha256 of their bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "thumbnails").mkdir(parents=True, exist_ok=True)
        self._file = folder / "values.json"
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else "{}"
        self._values: dict[str, Values] = json.loads(text)

    def get(self, photo: str, method: Made) -> Values | None:
        """The values, if they and the thumbnail are there."""
        known = self._values.get(self._key(photo, method))
        return known if known and self.thumbnail(photo, method).exists() else None

    def put(self, photo: str, method: Made, values: Values, picture: torch.Tensor) -> None:
        """Keeps a result; on disk when this returns."""
        thumbnail = Image.fromarray(to_pixels(scaled(picture, THUMBNAIL)[0]))
        thumbnail.save(self.thumbnail(photo, method), quality=90)
        self._values[self._key(photo, method)] = values
        with replacing(self._file) as temporary:
            temporary.write_text(json.dumps(self._values, indent=1), encoding="utf-8")

    def thumbnail(self, photo: str, method: Made) -> Path:
        """Where the picture's thumbnail lies."""
        made = text_digest(method.fingerprint)[:8]
        name = f"{photo[:20]}-{method.name.replace(' ', '')}-{made}.jpg"
        return self.folder / "thumbnails" / name

    @staticmethod
    def _key(photo: str, method: Made) -> str:
        return f"{photo[:20]} {method.name} {method.fingerprint} {VERSION}"


def summary(keys: Sequence[str], methods: Sequence[Made], results: Results) -> Summary:
    """Method -> value -> mean, median and number of photos, over those photos of which every
    method has the value: means over different photos do not compare."""
    rows = {method.name: [results.get(key, method) or {} for key in keys] for method in methods}
    names = dict.fromkeys(name for values in rows.values() for row in values for name in row)
    table: Summary = {method: {} for method in rows}
    for name in names:
        shared = [
            i
            for i in range(len(keys))
            if all(values[i].get(name) is not None for values in rows.values())
        ]
        for method, values in rows.items():
            known = [x for i in shared if (x := values[i][name]) is not None]
            if known:
                table[method][name] = {
                    "mean": float(np.mean(known)),
                    "median": float(np.median(known)),
                    "n": len(known),
                }
    return table


def as_table(title: str, found: Summary, n: int) -> str:
    """A Markdown table of the means; of seconds the median, as the first photo warms up."""
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    rows = []
    for method, values in found.items():
        cells = []
        for name in names:
            value = values.get(name)
            if value is None:
                cells.append("-")
                continue
            shown = value["median" if name == SECONDS else "mean"]
            short = f" ({int(value['n'])})" if value["n"] < n else ""
            cells.append(f"{shown:.3f}{short}")
        rows.append([method, *cells])
    heading = f"{title}: {n} photos; in brackets how many could be measured, if not all"
    return markdown_table(["method", *names], rows, title=heading)
