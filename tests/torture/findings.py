"""What went wrong, kept as it is found, with what it takes to see it again."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOMS = ("ris", "data", "ingest", "index", "query", "commands", "edit")
MOST = 3
"""Findings of one kind that are kept; the counts have all of them."""
WRONG = ("crash", "hang", "raw error", "silent change", "loss")


@dataclass
class Finding:
    """A fault of the product.

    Attributes:
        wrong: one of `WRONG`.
        section: part of the suite.
        group: what it counts as there.
        steps: what to give to `--repeat`: seed and place in the sequence.
        what: one line.
        trace: where an error was raised, or what differed.
    """

    wrong: str
    section: str
    group: str
    steps: dict[str, Any]
    what: str
    trace: str = ""

    @property
    def kind(self) -> str:
        """Alike for findings that are probably of one cause."""
        where = re.findall(r'File "[^"]*?([^/"]+/[^/"]+)", line (\d+)', self.trace)
        ours = [place for place in where if place[0].split("/")[0] in ROOMS]
        error = re.sub(r"\W.*", "", self.trace.strip().split("\n")[0])
        return f"{self.wrong}|{self.group}|{error}|{(ours or where)[-1:]}"

    @property
    def id(self) -> str:
        """Names it: `--repeat ID`."""
        return ":".join(str(value) for value in self.steps.values())


@dataclass
class Tally:
    """Counts of a run: done and refused by section and group, and findings.

    Attributes:
        file: every finding is appended to it at once.
    """

    file: Path
    done: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def count(self, section: str, group: str, result: str) -> None:
        """One trial more."""
        self.done[f"{section}|{group}"] += 1
        self.results[f"{section}|{group}|{result}"] += 1

    def wrong(self, finding: Finding) -> None:
        """Keeps a finding; of many of one kind, the first."""
        self.kinds[finding.kind] += 1
        if self.kinds[finding.kind] > MOST:
            return
        self.findings.append(finding)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as out:
            line = {"id": finding.id, **asdict(finding), "time": time.time()}
            out.write(json.dumps(line) + "\n")

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return {
            "done": dict(self.done),
            "results": dict(self.results),
            "findings": [{"id": f.id, **asdict(f)} for f in self.findings],
        }
