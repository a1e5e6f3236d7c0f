"""What is printed of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.torture.findings import WRONG

FINE = ("ok", "same", "refused", "memory", "died", "other", "not met")
WORDS = {
    "ok": "done all the same",
    "same": "same result",
    "refused": "refused in one line",
    "memory": "out of memory",
    "died": "died as planned",
    "other": "other content",
    "not met": "fault not met",
}


def table(report: dict[str, Any]) -> str:
    """A Markdown table of the counts."""
    lines = [
        "| what | trials | " + " | ".join(WORDS[n] for n in FINE) + " | wrong |",
        "|---|---:|" + "---:|" * (len(FINE) + 1),
    ]
    results = report["results"]
    for key in sorted(report["done"]):
        section, group = key.split("|")
        counts = [results.get(f"{key}|{n}", 0) for n in FINE]
        wrong = sum(results.get(f"{key}|{n}", 0) for n in WRONG)
        cells = [f"{n:,}" if n else "" for n in counts]
        lines.append(
            f"| {section}: {group} | {report['done'][key]:,} | {' | '.join(cells)} | {wrong} |"
        )
    return "\n".join(lines)


def summary(report: dict[str, Any]) -> str:
    """Some lines for a person."""
    sums: Counter[str] = Counter()
    for key, count in report["done"].items():
        section = key.split("|")[0]
        if " by " not in section:
            sums[section] += count
    found: Counter[str] = Counter()
    for key, count in report["results"].items():
        section, _, result = key.split("|")
        if " by " not in section:
            found[result] += count
    lines = [f"{section}: {count:,}" for section, count in sorted(sums.items())]
    lines += [f"{kind}: {found[kind]}" for kind in WRONG]
    lines.append(f"seed {report['seed']}, {report['seconds']} s on {report['workers']} workers")
    lines += [
        f"  {f['id']}: {f['wrong']}: {f['group']}: {f['what']}" for f in report["findings"][:40]
    ]
    return "\n".join(lines)
