"""How alike two pictures of a face are: measures that several benchmarks use.

Every measure works on aligned (FFHQ-cropped) pictures, (1, 3, S, S) in [-1, 1], and has two
halves: `describe` looks at one picture, `compare` at two descriptions; so a photo that is compared
with many pictures is described once.
"""

from benchmarks.measures.protocol import Measure, Values, compare_all, describe_all, standard

__all__ = ["Measure", "Values", "compare_all", "describe_all", "standard"]
