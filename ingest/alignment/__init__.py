"""From any photo to the square crops that FFHQ-trained networks expect."""

from ris.data.blendshapes import BLENDSHAPES
from ris.ingest.alignment.finder import Face, FaceFinder
from ris.ingest.alignment.quad import crop, crop_matrix, ffhq_quad, is_aligned

__all__ = [
    "BLENDSHAPES",
    "Face",
    "FaceFinder",
    "crop",
    "crop_matrix",
    "ffhq_quad",
    "is_aligned",
]
