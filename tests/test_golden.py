"""What RIS gives is what it gave when `golden/recorded` was written.

A change that is meant to change it records anew: `python -m tests.golden.record
tests/golden/recorded`.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from tests.golden.compare import differences
from tests.golden.recording import Recording, record, reduced

PARTS = ("store", "index", "printed", "picture", "latents", "export")
"""First words of what a recording holds."""


@pytest.fixture(scope="module")
def recorded():
    return Recording.read(ROOT / "tests" / "golden" / "recorded")


@pytest.fixture(scope="module")
def found(recorded):
    return differences(recorded, record())


@pytest.mark.parametrize("part", PARTS)
def test_what_ris_gives_stays_the_same(found, part):
    assert [line for line in found if line.startswith(part)] == []


def test_no_difference_is_left_out(found):
    assert [line for line in found if not line.startswith(PARTS)] == []


def changed(recording, name, change):
    """A recording with one array changed in place."""
    array = recording.arrays[name].copy()
    change(array)
    return replace(recording, arrays=recording.arrays | {name: array})


def test_numbers_that_machines_do_not_change_are_noticed(recorded):
    name = "index exact/eyes/vectors"
    assert differences(recorded, recorded) == []
    for factor, noticed in ((1.01, False), (1.05, True)):
        other = changed(recorded, name, lambda a, f=factor: np.multiply(a, f, out=a))
        assert bool(differences(recorded, other)) == noticed
    values = copy.deepcopy(recorded.values)
    values["printed"]["query id exact"]["nearest"][0]["score"] -= 0.01
    (line,) = differences(recorded, replace(recorded, values=values))
    assert line.startswith("printed/query id exact/nearest[0]/score: ")


def test_a_setting_may_not_move_at_all(recorded):
    values = copy.deepcopy(recorded.values)
    values["index exact"]["eyes"]["meta"]["extra"]["mask"]["tau"] += 1e-6
    (line,) = differences(recorded, replace(recorded, values=values))
    assert line.startswith("index exact/eyes/meta/extra/mask/tau: ")


def test_one_bit_is_noticed_between_exact_recordings(recorded):
    exact = replace(recorded, exact=True)
    name = "index exact/eyes/vectors"
    other = changed(exact, name, lambda a: a.view(np.uint32).__ixor__(np.uint32(a.ndim == 2)))
    assert differences(exact, exact) == []
    assert differences(exact, other) == [f"{name}: other values"]


def test_a_recording_is_read_as_it_was_written(recorded, tmp_path):
    recorded.write(tmp_path)
    assert differences(recorded, Recording.read(tmp_path)) == []
    assert reduced(recorded) is recorded
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 300_000
