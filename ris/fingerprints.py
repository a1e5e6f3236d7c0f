"""Fingerprints: short digests of what a result depends on, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LENGTH = 16
"""Hexadecimal digits of a fingerprint."""


def text_digest(text: str) -> str:
    """16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def tensor_digest(
    tensors: Mapping[str, torch.Tensor], *, before: bytes = b"", after: bytes = b""
) -> str:
    """16 hexadecimal digits of the SHA-256 of tensors' names and values, in the names' order.

    Args:
        tensors: by name; their types count, their order and device do not.
        before: what else counts, hashed before the tensors.
        after: likewise, hashed after them.
    """
    digest = hashlib.sha256(before)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().data)
    digest.update(after)
    return digest.hexdigest()[:LENGTH]
