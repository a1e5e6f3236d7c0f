"""What the door is given, and how columns of one name are told apart."""

from __future__ import annotations

import math

import pytest

from ris.door.holdings import named_apart
from ris.door.words import names_of, weights_of
from ris.errors import InputError


def test_features_are_one_several_or_weighted():
    assert weights_of("eyes") == {"eyes": 1.0}
    assert weights_of(["eyes", "mouth"]) == {"eyes": 1.0, "mouth": 1.0}
    assert weights_of({"eyes": 2, "mouth": -1}) == {"eyes": 2.0, "mouth": -1.0}
    assert names_of("eyes") == names_of(["eyes", "eyes"]) == ["eyes"]


@pytest.mark.parametrize(
    "wrong", [None, [], {}, {"eyes": 0}, {"eyes": math.nan}, {"eyes": math.inf}, ["eyes", "eyes"]]
)
def test_features_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError):
        weights_of(wrong)


def test_columns_of_one_name():
    assert named_apart(["id", "id", "a", "id"]) == ["id", "id_1", "a", "id_2"]
    assert named_apart(["id", "id", "id_1"]) == ["id", "id_2", "id_1"]
    assert named_apart(["id_1", "id", "id"]) == ["id_1", "id", "id_2"]
