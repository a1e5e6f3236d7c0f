"""The commands on a CUDA device: the same faces as on the processor, but for rounding."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ris.data.shards import vectors
from ris.data.store import Store

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module")
def portraits(faces, tmp_path_factory):
    """Twelve faces without their latents, so that they have to be inverted."""
    folder = tmp_path_factory.mktemp("portraits")
    for photo in sorted(faces.glob("*.jpg"))[:12]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    return folder


def columns(store: Store) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("w", "sigma", "scores")}
    for batch in store.batches(["id", *parts]):
        for name, found in parts.items():
            found.append(vectors(batch, name).astype(np.float64))
    return {name: np.concatenate(found) for name, found in parts.items()}


@pytest.mark.parametrize("more", [(), ("--refine", "4")])
def test_rows_of_both_devices_agree(ris, portraits, tmp_path, more):
    found = {}
    for device in ("cpu", "cuda"):
        folder = tmp_path / device / ".ris"
        words = ("ingest", portraits, "--store", folder, "--device", device, "--json", *more)
        status, out, err = ris(*words)
        assert (status, err) == (0, "")
        assert json.loads(out)["ingested"] == 12
        found[device] = columns(Store.open(folder))
    if more:
        return  # optimisation runs in bfloat16 there: the faces are alike, their numbers are not
    for name, of_cpu in found["cpu"].items():
        of_cuda = found["cuda"][name]
        off = np.linalg.norm(of_cuda - of_cpu) / np.linalg.norm(of_cpu)
        assert off < (2e-3 if name == "scores" else 1e-3), name


def test_a_photo_finds_itself_whatever_device_read_it(ris, portraits, tmp_path):
    photo = sorted(portraits.glob("*.jpg"))[4]
    for stored, asked in (("cpu", "cuda"), ("cuda", "cpu")):
        folder = tmp_path / stored / ".ris"
        assert ris("ingest", portraits, "--store", folder, "--device", stored).status == 0
        assert ris("index", "--feature", "eyes", "--store", folder).status == 0
        copy = tmp_path / f"{asked}.png"  # other bytes, the same picture
        from PIL import Image

        Image.open(photo).save(copy)
        words = ("query", copy, "--feature", "eyes", "--store", folder, "--device", asked)
        found = json.loads(ris(*words, "--json").out)
        assert found["nearest"][0]["path"].endswith(photo.name)
        assert found["nearest"][0]["score"] > 0.999


def test_pictures_of_both_devices_agree(ris, tmp_path):
    from PIL import Image

    for device in ("cpu", "cuda"):
        assert ris("sample", tmp_path / device, "--n", "2", "--device", device).status == 0
        words = ("transfer", "seed:1", "seed:2", "--feature", "hair", "--device", device)
        assert ris(*words, "--out", tmp_path / f"{device}.png", "--size", "256").status == 0
        words = ("catalog", "show", "--faces", "1", "--device", device)
        assert ris(*words, "--out", tmp_path / f"{device}-catalogue.png").status == 0
    pairs = [("cpu.png", "cuda.png"), ("cpu-catalogue.png", "cuda-catalogue.png")]
    pairs.append(("cpu/seed000001.jpg", "cuda/seed000001.jpg"))
    for pair in pairs:
        first, second = (np.asarray(Image.open(tmp_path / name), np.float64) for name in pair)
        assert np.abs(first - second).mean() < 0.5, pair


def test_a_catalogue_is_fitted_there(ris, tmp_path):
    words = ("catalog", "fit", "--clusters", "24", "--faces", "12", "--device", "cuda")
    status, out, err = ris(*words, "--out", tmp_path / "small.safetensors")
    assert (status, err) == (0, "")
    assert out.startswith("24 clusters")
