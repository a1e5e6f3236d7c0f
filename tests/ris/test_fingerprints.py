"""Digests of tensors."""

import hashlib

import torch

from ris.fingerprints import tensor_digest, text_digest


def test_a_digest_is_of_names_and_values_in_the_names_order():
    a, b = torch.arange(6.0).view(2, 3), torch.tensor([1, 2], dtype=torch.int8)
    expected = hashlib.sha256(b"first" + b"a" + a.numpy().tobytes() + b"b" + b"\1\2" + b"last")
    found = tensor_digest({"b": b, "a": a}, before=b"first", after=b"last")
    assert found == expected.hexdigest()[:16]
    assert tensor_digest({"a": a, "b": b}, before=b"first", after=b"last") == found


def test_a_digest_sees_a_name_a_value_and_a_type_but_not_the_layout_in_memory():
    x = torch.arange(6.0).view(2, 3)
    known = tensor_digest({"x": x})
    assert tensor_digest({"x": x.T.contiguous().T}) == known
    assert tensor_digest({"y": x}) != known
    assert tensor_digest({"x": x + 1e-6}) != known
    assert tensor_digest({"x": x.double()}) != known


def test_scalars_and_empty_tensors_have_digests():
    assert len(tensor_digest({"one": torch.tensor(1.0), "none": torch.zeros(0)})) == 16


def test_a_text_has_sixteen_digits_of_its_sha256():
    assert text_digest("é") == hashlib.sha256("é".encode()).hexdigest()[:16]
