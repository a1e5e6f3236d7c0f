"""Errors: what is wrong, what to do next, and the way through other processes."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from ris import errors
from ris.data.durable import UnreadableError
from ris.data.manifest import LostManifestError
from ris.data.sealed import DamagedError
from ris.errors import ImageError, InputError, RisError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, RisError) and kind is not ImageError
]


def test_a_hint_follows_the_message():
    error = InputError("`k` is at least 1, not 0", "give more")
    assert (error.message, error.hint) == ("`k` is at least 1, not 0", "give more")
    assert str(error) == "`k` is at least 1, not 0: give more"
    assert str(RisError("it is wrong")) == "it is wrong"
    assert RisError("it is wrong").hint == ""


def test_an_image_error_has_its_stage_and_its_reason():
    error = ImageError("decode", "damaged", "save it anew")
    assert (error.stage, error.reason, error.hint) == ("decode", "damaged", "save it anew")
    assert str(error) == "damaged: save it anew"


def _fails(error: RisError) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        *(kind("it is wrong", "do it again") for kind in KINDS),
        LostManifestError("it is lost", "look for it"),
        UnreadableError("it cannot be read now"),
        ImageError("align", "no face found"),
        ImageError("read", "it is wrong", "do it again"),
        DamagedError(Path("a.parquet"), "it is no whole file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_go_through_pickles_whole(error):
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert again.args == error.args


def test_errors_come_whole_from_other_processes():
    error = DamagedError(Path("a.parquet"), "it is no whole file")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        again = pool.submit(_fails, error).exception()
    assert isinstance(again, DamagedError)
    assert (again.path, again.reason, str(again)) == (error.path, error.reason, str(error))
