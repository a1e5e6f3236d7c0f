"""How alike two pictures of a face are: measures that several benchmarks use.

Every measure works on aligned (FFHQ-cropped) pictures, (1, 3, S, S) in [-1, 1], and has two
halves: `describe` looks at one picture, `compare` at two descriptions; so a photo that is compared
with many pictures is described once.
"""

from pathlib import Path

from benchmarks.measures.measure import Measure, Values, compare_all, describe_all

__all__ = ["Measure", "Values", "compare_all", "describe_all", "standard"]


def standard(models: Path) -> list[Measure]:
    """All measures; model files that are not here yet are pulled.

    Args:
        models: folder that holds the face parser's TFLite file.

    Raises:
        RisError: a package or a model file is missing; says how to get it.
    """
    from benchmarks.measures.identity import DlibIdentity, FaceResIdentity
    from benchmarks.measures.landmark_distance import LandmarkError
    from benchmarks.measures.parsing import RegionOverlap
    from benchmarks.measures.pixels import FeatureDistance, PixelError

    return [
        DlibIdentity(),
        FaceResIdentity(),
        LandmarkError(),
        RegionOverlap(models),
        FeatureDistance(),
        PixelError(),
    ]
