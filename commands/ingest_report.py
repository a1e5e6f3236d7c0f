"""What `ris ingest` prints of its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ris.commands.terminal import plain

if TYPE_CHECKING:
    from ris import IngestReport, Joined

REASONS = 10
"""So many reasons of failures are shown by themselves, the commonest."""


def print_report(report: IngestReport) -> None:
    """The counts, the reasons of failures and the first failed photos."""
    print(
        f"{report.ingested} faces ingested, {report.skipped} skipped (already there), "
        f"{report.failed} failed, in {report.seconds:.1f} s"
    )
    print_reasons(report.reasons())
    for failure in report.failures[:10]:
        print(f"  {plain(failure.path)}: {plain(failure.reason)}")
    if report.failed > 10:
        print(f"  and {report.failed - 10} more: ris failures")
    others = Counter(report.left_out) + Counter({"not a picture": report.not_pictures})
    if others:
        ordered = sorted(others.items(), key=lambda entry: (-entry[1], entry[0]))
        counts = ", ".join(f"{count} x {reason}" for reason, count in ordered)
        print(f"{others.total()} other files: {counts}")


def print_reasons(reasons: Counter[str]) -> None:
    """The commonest reasons of failures; many hold a number, so there may be one for each file."""
    shown = reasons.most_common(REASONS)
    for reason, count in shown:
        print(f"  {count} x {plain(reason)}")
    if len(reasons) > REASONS:
        rest = reasons.total() - sum(count for _, count in shown)
        print(f"  {rest} x {len(reasons) - REASONS} other reasons")


def why_nothing(report: IngestReport) -> str:
    """Why none of the photos that were named is in the store."""
    if not report.failed:
        return f"no photos in {report.named}"
    if report.failed == 1:
        return f"no face from {report.named}: {report.failures[0].reason}"
    return f"no face from {report.named}: {report.failed} photos failed, `ris failures` lists them"


def print_joined(joined: Joined) -> None:
    """What of a table was joined, and what was not."""
    print(
        f"metadata for {joined.matched} faces by column {plain(joined.column)}, none for "
        f"{joined.without}{_some(joined.photos_without, joined.without)}"
    )
    if joined.unused:
        print(
            f"  {joined.unused} rows of it are about other photos"
            f"{_some(joined.names_unused, joined.unused)}"
        )


def _some(names: Sequence[str], count: int) -> str:
    shown = ", ".join(plain(name) for name in names)
    return f": {shown}{', …' if count > len(names) else ''}" if names else ""
