"""Inception-v3 (Szegedy et al. 2015, arXiv:1512.00567) in plain torch, for its pool features.

Two sets of weights have one table of tensors, told apart by the outputs of ``fc``: 1008 has the
TensorFlow network of 2015-12-05, by which FID is computed (as pytorch-fid ports it), 1000
torchvision's, trained on ImageNet. They differ in how blocks pool. Each batch normalisation is
folded into the convolution before it; ``fc`` is checked, but not kept, nor are ``AuxLogits``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from ris.networks.weights import check_shapes

DIM = 2048
SIZE = 299  # pixels of a side at which both sets of weights were trained
EPSILON = 1e-3
Kernel = tuple[int, int]
Link = tuple[int, Kernel] | tuple[int, Kernel, Kernel]
"""Width and kernel of a convolution; two kernels: two of them side by side on one input."""
Chains = dict[str, list[Link]]
Pool = Literal["average", "average with padding", "max", "halve"]
ONE, THREE, ROW, COLUMN = (1, 1), (3, 3), (1, 7), (7, 1)
FORK: Link = (384, (1, 3), (3, 1))
VARIANTS: dict[int, tuple[str, Pool, Pool]] = {
    # outputs of fc: whose weights, pool of the blocks that keep their size, and of the last
    1008: ("FID", "average", "max"),
    1000: ("ImageNet", "average with padding", "average with padding"),
}


def _a(pooled: int) -> tuple[Chains, int]:
    double: list[Link] = [(64, ONE), (96, THREE), (96, THREE)]
    five: list[Link] = [(48, ONE), (64, (5, 5))]
    return {"branch1x1": [(64, ONE)], "branch5x5": five, "branch3x3dbl": double}, pooled


def _c(w: int) -> tuple[Chains, int]:
    seven: list[Link] = [(w, ONE), (w, ROW), (192, COLUMN)]
    double: list[Link] = [(w, ONE), (w, COLUMN), (w, ROW), (w, COLUMN), (192, ROW)]
    return {"branch1x1": [(192, ONE)], "branch7x7": seven, "branch7x7dbl": double}, 192


_B: Chains = {"branch3x3": [(384, THREE)], "branch3x3dbl": [(64, ONE), (96, THREE), (96, THREE)]}
_D: Chains = {
    "branch3x3": [(192, ONE), (320, THREE)],
    "branch7x7x3": [(192, ONE), (192, ROW), (192, COLUMN), (192, THREE)],
}
_E: Chains = {
    "branch1x1": [(320, ONE)], "branch3x3": [(384, ONE), FORK],
    "branch3x3dbl": [(448, ONE), (384, THREE), FORK],
}  # fmt: skip
BLOCKS: dict[str, tuple[Chains, int]] = {
    # chains of convolutions, and the width after the pool; 0: all halve the size
    "Mixed_5b": _a(32), "Mixed_5c": _a(64), "Mixed_5d": _a(64), "Mixed_6a": (_B, 0),
    "Mixed_6b": _c(128), "Mixed_6c": _c(160), "Mixed_6d": _c(160), "Mixed_6e": _c(192),
    "Mixed_7a": (_D, 0), "Mixed_7b": (_E, 192), "Mixed_7c": (_E, 192),
}  # fmt: skip
LAST = "Mixed_7c"


@dataclass(frozen=True)
class _Conv:
    """A convolution, its batch normalisation and its ReLU, by their name in the checkpoint."""

    name: str
    out: int
    inp: int
    kernel: Kernel = ONE
    stride: int = 1
    pad: bool = True  # with zeros, so that the size stays


STEM = (  # None: a pool that halves the size
    _Conv("Conv2d_1a_3x3", 32, 3, THREE, 2, pad=False),
    _Conv("Conv2d_2a_3x3", 32, 32, THREE, pad=False),
    _Conv("Conv2d_2b_3x3", 64, 32, THREE), None,
    _Conv("Conv2d_3b_1x1", 80, 64),
    _Conv("Conv2d_4a_3x3", 192, 80, THREE, pad=False), None,
)  # fmt: skip
_Step = list[_Conv]  # more than one: side by side


def _steps(name: str, inp: int, links: Sequence[Link], halve: bool) -> list[_Step]:
    """A chain's convolutions; the last halves the size, or none does."""
    steps = []
    for i, (out, *kernels) in enumerate(links, 1):
        stride = 2 if halve and i == len(links) else 1
        own = f"{name}_{i}" if len(links) > 1 else name
        pairs = zip([own] if len(kernels) == 1 else [f"{own}a", f"{own}b"], kernels, strict=True)
        steps.append([_Conv(n, out, inp, kernel, stride, stride == 1) for n, kernel in pairs])
        inp = out
    return steps


def _blocks() -> Iterator[tuple[str, list[list[_Step]], _Conv | None]]:
    """Name and chains of every block, and the convolution after its pool."""
    width = 192
    for block, (table, pooled) in BLOCKS.items():
        chains = [_steps(f"{block}.{n}", width, t, pooled == 0) for n, t in table.items()]
        yield block, chains, _Conv(f"{block}.branch_pool", pooled, width) if pooled else None
        width = sum(c.out for chain in chains for c in chain[-1]) + (pooled or width)


class InceptionV3(torch.nn.Module):
    """A frozen Inception-v3; `variant` is ``FID`` or ``ImageNet``.

    Args:
        weights: state dict by torchvision's names.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        outputs = next(iter(weights["fc.weight"].shape), 0) if "fc.weight" in weights else 1008
        if outputs not in VARIANTS:
            raise ValueError(f"fc.weight has {outputs} rows; FID's has 1008, torchvision's 1000")
        self.variant, *self._pools = VARIANTS[outputs]
        kept = {k: v for k, v in weights.items() if not k.startswith("AuxLogits.")}
        counters = (f"{c.name}.bn.num_batches_tracked" for c in _convs())  # older files have none
        check_shapes(kept, expected_shapes(outputs) | {k: () for k in counters if k in kept})
        for c in _convs():
            gamma, beta, mean, var = (kept[name].detach().double() for name in _norm(c))
            gain = gamma * torch.rsqrt(var + EPSILON)
            weight = kept[f"{c.name}.conv.weight"].detach().double() * gain[:, None, None, None]
            self.register_buffer(_key(c, "weight"), weight.float())
            self.register_buffer(_key(c, "bias"), (beta - mean * gain).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pool features.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1], 75 pixels a side or more, `SIZE` by rights.

        Returns:
            (B, 2048): the last block's output, averaged over the picture.
        """
        x = images
        for c in STEM:
            x = self._conv(c, x) if c else pool(x, "halve")
        for block, chains, after in _blocks():
            found = [self._chain(chain, x) for chain in chains]
            pooled = pool(x, self._pools[block == LAST] if after else "halve")
            x = torch.cat([*found, self._conv(after, pooled) if after else pooled], 1)
        return x.mean((2, 3))

    def _chain(self, chain: list[_Step], x: torch.Tensor) -> torch.Tensor:
        for step in chain:
            x = torch.cat([self._conv(c, x) for c in step], 1)
        return x

    def _conv(self, c: _Conv, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.get_buffer(_key(c, "weight")), self.get_buffer(_key(c, "bias"))
        padding = (c.kernel[0] // 2, c.kernel[1] // 2) if c.pad else 0
        return F.relu(F.conv2d(x, weight, bias, c.stride, padding), inplace=True)


def pool(x: torch.Tensor, kind: Pool) -> torch.Tensor:
    """3 x 3 windows of (B, C, H, W); all but "halve" keep the size.

    Past the picture's edge "average" leaves out what is not there, "average with padding" takes it
    for zeros, "max" for less than anything.
    """
    if kind == "halve":
        return F.max_pool2d(x, 3, 2)
    if kind == "max":
        return F.max_pool2d(x, 3, 1, 1)
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=kind == "average with padding")


def expected_shapes(outputs: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that `InceptionV3` wants, by the outputs of ``fc``."""
    shapes: dict[str, tuple[int, ...]] = {}
    for c in _convs():
        shapes[f"{c.name}.conv.weight"] = (c.out, c.inp, *c.kernel)
        shapes |= dict.fromkeys(_norm(c), (c.out,))
    return shapes | {"fc.weight": (outputs, DIM), "fc.bias": (outputs,)}


def _convs() -> Iterator[_Conv]:
    yield from filter(None, STEM)
    for _, chains, after in _blocks():
        yield from (c for chain in chains for step in chain for c in step)
        yield from [after] if after else []


def _norm(c: _Conv) -> list[str]:
    return [f"{c.name}.bn.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def _key(c: _Conv, part: str) -> str:
    return f"{c.name}.{part}".replace(".", "/")  # buffer names may not hold dots
