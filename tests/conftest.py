from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import run_ris

from ris.images import from_pixels

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _quiet_torch():
    torch.set_grad_enabled(True)
    os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture
def ris(monkeypatch, capsys, tmp_path):
    """Runs a command line in an empty folder; gives exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return partial(run_ris, monkeypatch, capsys)


@pytest.fixture(scope="session")
def generator():
    """The default generator from its real model files."""
    from ris.data.models.shipped import load_generator

    return load_generator()


@pytest.fixture(scope="session")
def catalogue(generator):
    """The shipped feature catalogue."""
    from ris.data.models.shipped import load_catalogue

    return load_catalogue(generator)


@pytest.fixture(scope="session")
def efficientnet_weights():
    """State dict of EfficientNet-Lite0 from its real model file."""
    from ris.data.models.registry import model_file, pull

    model = model_file("efficientnet-lite0")
    pull(model)
    return torch.load(model.path(".pth"), weights_only=True, map_location="cpu")


@pytest.fixture(scope="session")
def shared_faces():
    """Folder of real aligned faces that some checks use; skipped where it is not at hand."""
    folder = SHARED / "faces" / "celebahq512" / "images"
    if not folder.is_dir():
        pytest.skip("no real face photos beside the checkout (../shared/faces)")
    return folder


@pytest.fixture(scope="session")
def celeba_eval():
    """300 real photos that nothing was trained on, and their attributes by name; skipped where
    they are not at hand."""
    import pyarrow.parquet as pq

    source = SHARED / "faces" / "celeba.parquet"
    if not source.is_file():
        pytest.skip("no labelled face photos beside the checkout (../shared/faces)")
    rows = pq.read_table(source, filters=[("set", "=", "eval")]).sort_by("file")
    rows = rows.take(list(range(0, len(rows), len(rows) // 300))[:300])
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    return [source.parent / file for file in columns["file"]], columns


@pytest.fixture(scope="session")
def faces(generator, tmp_path_factory) -> Path:
    """Folder of 60 faces rendered by the real generator, with their latents beside them."""
    from ris.ingest.sampling import sample

    folder = tmp_path_factory.mktemp("sampled") / "faces"
    sample(folder, generator, n=60, seed=100, size=256)
    return folder


@pytest.fixture(scope="session")
def rendered(faces):
    """W codes (60, 512) and pictures (60, 3, 256, 256) in [-1, 1] of `faces`, in one order."""
    import numpy as np
    import pyarrow.parquet as pq
    import torch
    from PIL import Image

    rows = pq.read_table(faces / "latents.parquet").to_pylist()
    pixels = np.stack([np.asarray(Image.open(faces / row["file"])) for row in rows])
    w = torch.tensor(np.array([row["w"] for row in rows], np.float32))
    return w, from_pixels(pixels)


@pytest.fixture(scope="session")
def models(generator, catalogue):
    """The default models, of which generator and catalogue are loaded."""
    from ris.ingest.loaded_models import Models

    loaded = Models()
    vars(loaded).update(_generator=generator, catalogue=catalogue)
    return loaded


@pytest.fixture(scope="session")
def filled(faces, models, tmp_path_factory):
    """A store of the 60 faces with soft exact indices; tests must not change it."""
    from ris.data.store import Store
    from ris.index.build import DEFAULT_FEATURES, build_indices
    from ris.ingest.run import ingest_collection

    folder = tmp_path_factory.mktemp("filled") / ".ris"
    labels = folder.parent / "labels.csv"
    lines = [f"seed{100 + i:06d}.jpg,{i % 2},{i // 5}" for i in range(60)]
    labels.write_text("\n".join(["file,odd,person", *lines]))
    done = ingest_collection(str(faces), folder, models, metadata=labels)
    assert (done.report.ingested, done.report.failed) == (60, 0)
    assert done.labelled is not None and (done.labelled.matched, done.labelled.without) == (60, 0)
    store = Store.open(folder)
    build_indices(store, DEFAULT_FEATURES)
    return store


@pytest.fixture(scope="session")
def small_encoder(efficientnet_weights):
    """Makes untrained encoders with a small head, all alike."""
    from ris.networks import EfficientNetLite, EfficientNetLiteTrunk
    from ris.networks.encoder import EncoderConfig, EncoderNet

    def make() -> EncoderNet:
        torch.manual_seed(0)
        trunk = EfficientNetLite(efficientnet_weights).trunk_tensors()
        return EncoderNet(
            EfficientNetLiteTrunk(trunk, trainable=True), EncoderConfig(hidden=48, rank=4)
        )

    return make


@pytest.fixture(scope="session")
def twelve(faces, tmp_path_factory):
    """A folder with twelve faces in ``celebahq/``, their collection, and ``face.jpg``, which is
    not in it; tests must not change it."""
    import shutil

    import ris

    folder = tmp_path_factory.mktemp("twelve")
    photos = sorted(faces.glob("*.jpg"))
    (folder / "celebahq").mkdir()
    for photo in photos[:12]:
        shutil.copy(photo, folder / "celebahq")
    shutil.copy(faces / "latents.parquet", folder / "celebahq")
    lines = [f"{photo.name},{i % 2}" for i, photo in enumerate(photos[:12])]
    (folder / "labels.csv").write_text("\n".join(["file,odd", *lines]))
    shutil.copy(photos[12], folder / "face.jpg")
    made = ris.create(folder / ".ris")
    made.ingest(folder / "celebahq", metadata=folder / "labels.csv")
    made.index()
    return folder


@pytest.fixture
def here(twelve, tmp_path, monkeypatch):
    """The working folder: a copy of `twelve`."""
    import shutil

    folder = tmp_path / "here"
    shutil.copytree(twelve, folder)
    monkeypatch.chdir(folder)
    return folder
