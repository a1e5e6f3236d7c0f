"""Class energies (Eq. 1) by the native kernel and by torch, side by side at every resolution.

    python -m benchmarks.kernels --threads 1

Milliseconds of processors, best of some repeats in turns, for random activations and one-hot masks
of 64 x 64 pixels; channels as the two generators have them. GB/s is the activation, read once, by
the kernel's time: compare it with the machine's, which stands above the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.arguments import parser_of
from ris.evaluate.markdown import markdown_head, markdown_row
from ris.memory import keep_freed_memory
from ris.method.contribution import class_energy

SHAPES = {  # resolution: channels of the default generator's widest layer, and of StyleGAN2's
    4: (512, 512), 8: (512, 512), 16: (512, 512), 32: (512, 512), 64: (512, 512),
    128: (256, 256), 256: (128, 128), 512: (64, 64), 1024: (32,),
}  # fmt: skip
ORDERS = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}


def processor_seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(resolution: int, channels: int, classes: int, order: str, repeats: int) -> Any:
    """Milliseconds of both, how much faster the kernel is, and how far they are apart."""
    x = torch.randn(1, channels, resolution, resolution).contiguous(memory_format=ORDERS[order])
    labels = F.interpolate(torch.randint(classes, (1, 1, 8, 8)).float(), size=(64, 64))
    masks = F.one_hot(labels[:, 0].long(), classes).permute(0, 3, 1, 2).float()
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "native": lambda: class_energy(x, masks, impl="native"),
        "torch": lambda: class_energy(x, masks, impl="reference"),
    }
    apart = float((ways["native"]() - ways["torch"]()).abs().max())
    best = {way: float("inf") for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            best[way] = min(best[way], processor_seconds(work))
    return {
        "native_ms": 1e3 * best["native"],
        "torch_ms": 1e3 * best["torch"],
        "faster": best["torch"] / best["native"],
        "gb_per_s": x.nbytes / best["native"] / 1e9,
        "apart": apart,
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measures, prints a table and returns its figures.

    Args:
        arguments: as on the command line, see ``--help``; None takes that.
    """
    parser = parser_of(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--classes", type=int, nargs="+", default=[8, 18])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    block = torch.randn(1 << 25)
    reading = block.nbytes / min(processor_seconds(block.sum) for _ in range(8)) / 1e9
    print(f"{options.threads} threads; a sum reads {reading:.0f} GB/s\n")
    names = ["native ms", "torch ms", "times faster", "GB/s", "apart"]
    print(markdown_head(["px", "channels", "classes", "order", *names]))
    results: dict[str, Any] = {"read_gb_per_s": reading}
    with torch.inference_mode():
        for resolution, widths in SHAPES.items():
            for channels in sorted(set(widths)):
                for classes in options.classes:
                    for order in ORDERS:
                        row = measure(resolution, channels, classes, order, options.repeats)
                        results[f"{resolution} {channels} {classes} {order}"] = row
                        cells = [f"{row[n]:.2f}" for n in ("native_ms", "torch_ms")]
                        cells += [f"{row['faster']:.1f}", f"{row['gb_per_s']:.0f}"]
                        shape = resolution, channels, classes, order
                        print(markdown_row([*shape, *cells, f"{row['apart']:.0e}"]))
    return results


if __name__ == "__main__":
    main()
