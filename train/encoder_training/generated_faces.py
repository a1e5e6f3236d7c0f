"""Generated faces to train on: codes with a spread of truncation and mixed layers, and pictures.

A picture is the read-out's (`ris.generators.readout`), at a fraction of a full render's cost. Faces
are made in chunks, each from a seed of its own, and kept as files, so that making them may be
interrupted, resumed, done by several processes, and read while more are made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ris.generators import Generator
from ris.generators.readout import ReadOut
from ris.images import to_bytes

Renderer = Callable[[torch.Tensor], torch.Tensor]
"""(B, L, 512) W+ -> (B, 3, R, R) pictures, about [-1, 1]."""
BATCH = 8  # of a renderer; an exported graph has it fixed


@dataclass(frozen=True)
class CodeSpread:
    """How training codes are drawn.

    Attributes:
        truncation: range of the truncation factor psi, uniform; real faces are both more ordinary
            and, in details, more unusual than psi = 1.
        mixed: share of the codes whose rows from a random one on move towards a second code.
        mix: range of how far they move, uniform: 1 replaces them.
    """

    truncation: tuple[float, float] = (0.6, 1.05)
    mixed: float = 0.6
    mix: tuple[float, float] = (0.2, 1.0)


def draw_codes(
    generator: Generator, count: int, seed: int, spread: CodeSpread | None = None
) -> torch.Tensor:
    """(N, L, 512) W+ codes; the same seed gives the same codes."""
    spread = spread or CodeSpread()
    rng = torch.Generator().manual_seed(seed)
    rows, width = generator.layout.rows, generator.latent_size

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=rng)

    def draw() -> torch.Tensor:
        z = torch.randn(count, width, generator=rng)
        w = generator.mapping(z.to(generator.device)).cpu()
        mean = generator.mean_w().cpu()
        return mean + uniform(*spread.truncation) * (w - mean)

    first, second = draw(), draw()
    amount = uniform(*spread.mix) * (torch.rand(count, 1, generator=rng) < spread.mixed)
    start = torch.randint(1, rows - 1, (count, 1), generator=rng)
    moved = (torch.arange(rows)[None] >= start) * amount  # [N, L]
    return first[:, None] + moved[:, :, None] * (second - first)[:, None]


def torch_renderer(generator: Generator, readout: ReadOut) -> Renderer:
    """The read-out as it is, on the generator's device."""

    @torch.no_grad()
    def render(w: torch.Tensor) -> torch.Tensor:
        return readout(generator.sigma(w.to(generator.device, torch.float32))).float()

    return render


def openvino_renderer(generator: Generator, readout: ReadOut, threads: int) -> Renderer:
    """The read-out exported to OpenVINO, in bfloat16 where the processor has it.

    About four times as fast as eager torch on a CPU; pictures differ by .004 on average.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    import openvino as ov

    class Picture(torch.nn.Module):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return readout(generator.sigma(w))

    example = torch.zeros(BATCH, generator.layout.rows, generator.latent_size)
    with torch.no_grad():
        model = ov.convert_model(Picture(), example_input=example)
    compiled = ov.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads}
    )

    def render(w: torch.Tensor) -> torch.Tensor:
        padded = torch.cat([w, w[:1].expand(-len(w) % BATCH, -1, -1)]).float()
        parts = [
            torch.from_numpy(compiled(part.contiguous().numpy())[0].copy())
            for part in torch.split(padded, BATCH)
        ]
        return torch.cat(parts)[: len(w)]

    return render


def chunk_path(folder: Path, seed: int) -> Path:
    """File of the chunk made from `seed`."""
    return folder / f"codes-{seed:08d}.safetensors"


def make_chunk(folder: Path, generator: Generator, render: Renderer, count: int, seed: int) -> bool:
    """Renders a chunk: ``w`` (N, L, 512) float16 and ``images`` (N, 3, R, R) uint8.

    Returns:
        False if it is there already.
    """
    path = chunk_path(folder, seed)
    if path.exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    w = draw_codes(generator, count, seed).half()
    images = torch.cat(
        [to_bytes(render(part.float())).cpu().contiguous() for part in torch.split(w, BATCH)]
    )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    save_file({"w": w, "images": images}, partial)
    partial.replace(path)
    return True


def read_chunk(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (N, L, 512) float16 and pictures (N, 3, R, R) uint8 of a chunk."""
    tensors = load_file(path)
    return tensors["w"], tensors["images"]
