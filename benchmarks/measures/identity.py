"""Is it the same person? Cosines of two face recognition networks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.measures.measure import Values
from benchmarks.measures.pixels import scaled
from ris.data.models.feature_networks import load_faceres
from ris.errors import RisError
from ris.images import to_pixels
from ris.networks.faceres import central_crop

HINT = "install the evaluation's packages: pip install 'ris-faces[bench]'"


class DlibIdentity:
    """dlib's 128-d descriptor (King 2017), on which nothing here is trained.

    The descriptor wants a chip of 150 px with the eyes at fixed places; in an FFHQ crop that is a
    fixed square. On CelebA two photos of a person have a cosine of .94 on average, of two people
    .84 (AUC .992).
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"identity_dlib": True}
    CHIP = (0.1435, 0.246, 0.8565, 0.959)
    """Left, top, right, bottom in parts of an FFHQ crop: the eyes at dlib's mean places."""
    CHIP_SIZE = 150
    FILE = "dlib_face_recognition_resnet_model_v1.dat"

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as e:
            raise RisError(f"identity is measured with dlib: {HINT}") from e
        self._net: Any = dlib.face_recognition_model_v1(str(_package_file(self.FILE)))

    def describe(self, picture: torch.Tensor) -> np.ndarray:
        """(128,) unit vector."""
        size = picture.shape[-1]
        left, top, right, bottom = (round(part * size) for part in self.CHIP)
        chip = scaled(picture[..., top:bottom, left:right], self.CHIP_SIZE)
        vector = np.array(self._net.compute_face_descriptor(to_pixels(chip[0])), dtype=np.float64)
        unit: np.ndarray = vector / np.linalg.norm(vector)
        return unit

    def compare(self, photo: np.ndarray, other: np.ndarray) -> Values:
        """Cosine."""
        return {"identity_dlib": float(photo @ other)}


class FaceResIdentity:
    """`ris.networks.faceres`: a check beside dlib's, as the encoder's training uses it.

    On CelebA two photos of a person have a cosine of .65 on average, of two people .36.
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"identity_faceres": True}

    def __init__(self) -> None:
        self._net = load_faceres()

    def describe(self, picture: torch.Tensor) -> torch.Tensor:
        """(1024,) unit vector."""
        embedding: torch.Tensor = self._net(central_crop(picture.clamp(-1, 1)))
        return F.normalize(embedding, dim=1)[0]

    def compare(self, photo: torch.Tensor, other: torch.Tensor) -> Values:
        """Cosine."""
        return {"identity_faceres": float(photo @ other)}


def _package_file(name: str) -> Path:
    """A file of the face-recognition-models wheel, found without running the package."""
    spec = importlib.util.find_spec("face_recognition_models")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise RisError(f"dlib's descriptor comes with face-recognition-models: {HINT}")
    return Path(folders[0]) / "models" / name
