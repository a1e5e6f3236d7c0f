"""Models under settings: loaded once, shared where a setting leaves them alone, never stale."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ris.errors import InputError, MismatchError, ModelFileError
from ris.ingest import loaded_models
from ris.ingest.loaded_models import Models


class Made:
    """Stands for a generator."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint


@pytest.fixture
def loads(monkeypatch) -> list[object]:
    """What was loaded, in order; a generator's fingerprint is its name."""
    found: list[object] = []

    def load(name, *, device):
        found.append(name)
        return Made(str(name))

    monkeypatch.setattr(loaded_models, "load_generator", load)
    return found


def test_models_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Models().refine = 3  # type: ignore[misc]


def test_other_settings_never_keep_what_they_change(loads, tmp_path):
    file = tmp_path / "g.pt"
    file.touch()
    models = Models()
    first = models.generator
    other = models.with_settings(generator_file=file)
    assert other.generator.fingerprint == str(file)
    assert models.generator is first
    assert other.with_settings(generator_file=None).generator is not other.generator
    assert models.with_settings(device="cpu").generator is not first
    assert loads[:2] == ["mobilestylegan-ffhq", file]


def test_other_settings_keep_what_they_leave_alone(models):
    generator, catalogue = models.generator, models.catalogue
    embedder, aligner = models.embedder, models.aligner
    other = models.with_settings(max_resolution=32)
    assert (other.generator, other.catalogue) == (generator, catalogue)
    assert other.aligner is aligner
    assert other.embedder is not embedder and other.embedder.max_resolution == 32
    assert models.with_settings(faces="all").aligner.faces == "all"
    assert models.with_settings(faces="all").embedder is embedder
    assert models.with_settings(max_resolution=models.max_resolution) is models


def test_a_store_says_what_its_generator_is(loads, filled):
    models = Models()
    _ = models.generator  # loaded before it is known whose faces are there
    with pytest.raises(MismatchError, match="the store's faces are of generator"):
        _ = models.at(filled.folder).generator
    assert len(loads) == 1
    assert models.generator.fingerprint == "mobilestylegan-ffhq"


def test_at_a_store_with_its_own_catalogue(filled, models, tmp_path):
    folder = tmp_path / ".ris"
    shutil.copytree(filled.folder, folder)
    assert models.at(folder).catalogue_path is None
    (folder / "catalogue.safetensors").touch()
    assert models.at(folder).catalogue_path == folder / "catalogue.safetensors"
    given = models.with_settings(catalogue_path=Path("mine.safetensors"))
    assert given.at(folder).catalogue_path == Path("mine.safetensors")


def test_threads_load_a_member_once(loads):
    models = Models()
    start = threading.Barrier(8)

    def load(_: int) -> object:
        start.wait()
        return models.generator

    with ThreadPoolExecutor(8) as pool:
        found = set(map(id, pool.map(load, range(8))))
    assert (len(loads), len(found)) == (1, 1)


def test_files_that_are_not_there_are_told_before_anything_is_loaded(loads, tmp_path):
    for setting in ("generator_file", "inverter_file", "catalogue_path"):
        with pytest.raises(ModelFileError, match="nothere"):
            Models(**{setting: tmp_path / "nothere"}).check_files()
    with pytest.raises(InputError, match="0 or more steps"):
        Models(refine=-1).check_files()
    assert not loads
