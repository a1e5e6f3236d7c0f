"""The store's rows as tensors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from ris.data import shards
from ris.data.manifest import StoreSettings


def row_tensors(
    batch: pa.RecordBatch, settings: StoreSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, C) sigma and (N, K, C') scores of a batch of rows, float32."""
    sigma = torch.from_numpy(shards.vectors(batch, "sigma").copy())
    scores = torch.from_numpy(shards.vectors(batch, "scores").astype(np.float32))
    return sigma, scores.reshape(len(batch), len(settings.classes), -1)


def batch_ids(batch: pa.RecordBatch) -> list[str]:
    """Face ids of a batch of rows."""
    ids: list[str] = batch.column("id").to_pylist()
    return ids
