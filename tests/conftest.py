from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _quiet_torch():
    torch.set_grad_enabled(True)
    os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session")
def generator():
    """The default generator from its real model files."""
    from data.assets import load_generator

    return load_generator()


@pytest.fixture(scope="session")
def catalogue(generator):
    """The shipped feature catalogue."""
    from data.assets import load_catalogue

    return load_catalogue(generator)


@pytest.fixture(scope="session")
def efficientnet_weights():
    """State dict of EfficientNet-Lite0 from its real model file."""
    from data.registry import model_file, pull

    model = model_file("efficientnet-lite0")
    pull(model)
    return torch.load(model.path(".pth"), weights_only=True, map_location="cpu")


@pytest.fixture(scope="session")
def shared_faces():
    """Folder of real aligned faces that some checks use; skipped where it is not at hand."""
    folder = SHARED / "faces" / "celebahq512"
    if not folder.is_dir():
        pytest.skip("no real face photos beside the checkout (../shared/faces)")
    return folder
