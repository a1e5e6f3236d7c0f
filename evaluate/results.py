"""Recomputes the tables and figures of docs/lab/results.md from a store.

    python -m ris.evaluate.results --store out/celeba/.ris --identity identity \\
        --ablation-store out/celeba128/.ris

The document keeps its words; what stands between ``<!-- NAME -->`` and ``<!-- end -->`` is written
anew. Any labelled collection will do: metadata with CelebA's attributes and a column that says
who a face is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ris.data.durable import replacing
from ris.data.store import Store
from ris.errors import InputError, RisError
from ris.evaluate.ablation import AblationResult, variants
from ris.evaluate.ams import LABELS, ams
from ris.evaluate.attribute_labels import predicted_labels, read_labels
from ris.evaluate.plots import ablation_plot, ams_plot, trsi_plot
from ris.evaluate.retrieval import rank_store, row_ids
from ris.evaluate.rivals import compared
from ris.evaluate.trsi import identities, trsi
from ris.memory import keep_freed_memory
from ris.method.representation import DEFAULT_NORM


def fill(text: str, name: str, table: str) -> str:
    """The document with a table in its place.

    Raises:
        InputError: the document has not exactly one such place.
    """
    place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
    if len(place.findall(text)) != 1:
        raise InputError(f"the document needs one place <!-- {name} --> ... <!-- end -->")
    return place.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def tables(
    store: Store, identity: str | None, queries: int, k: int, images: Path
) -> Iterator[tuple[str, str]]:
    """Name and Markdown of each table, as it is computed; draws the figures on the way."""
    ids = row_ids(store)
    people, labels = identities(store, ids, identity), read_labels(store, ids, LABELS)
    found = rank_store(store, compared(DEFAULT_NORM, rivals=True), k=k, queries=queries)
    overlap, matches = trsi(found, people), ams(found, labels)
    trsi_plot(overlap, images / "trsi.svg")
    ams_plot(matches, images / "ams.svg")
    yield "trsi", overlap.table()
    yield "ams", matches.table("mean")
    yield "ams-majority", matches.table("majority")
    seen = predicted_labels(store, store.manifest(), LABELS)
    yield "ams-predicted", ams(found, seen).table("mean")


def ablation_tables(
    store: Store, identity: str | None, queries: int, k: int, images: Path
) -> Iterator[tuple[str, str]]:
    """The same for the comparison of options."""
    ids = row_ids(store)
    found = rank_store(store, variants, k=k, queries=queries)
    overlap = trsi(found, identities(store, ids, identity))
    ablation = AblationResult(overlap, ams(found, read_labels(store, ids, LABELS)))
    ablation_plot(ablation, images / "ablation.svg")
    yield "ablation", ablation.table()


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--ablation-store", type=Path, help="another store to compare options in, with wider scores"
    )
    parser.add_argument("--identity", help="metadata column that says who a face is")
    parser.add_argument("--queries", type=int, default=0, help="0: every face is one")
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--document", type=Path, default=Path("docs/lab/results.md"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    store = Store.open(args.store)
    other = store if args.ablation_store is None else Store.open(args.ablation_store)
    options = args.identity, args.queries, args.k, args.images
    for name, table in chain(tables(store, *options), ablation_tables(other, *options)):
        text = fill(args.document.read_text(encoding="utf-8"), name, table)
        with replacing(args.document) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"{args.document}: {name}", flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    try:
        main()
    except RisError as e:
        sys.exit(f"results: {e}")
