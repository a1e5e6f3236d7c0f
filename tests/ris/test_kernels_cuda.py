"""The GPU's kernel: its arithmetic on the processor, whether it compiles, and itself where a GPU
is."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from ctypes import c_float, c_long

import pytest
import torch

from ris.method.contribution import EPSILON, class_energy
from ris.ops import native, pooling_cuda
from tests.ris.test_kernels import activation, class_masks, slow_energy

HARNESS = """
#include <vector>
#include "pooling.h"
using namespace ris;
// The three kernels of pooling.cu for one image, a thread after the other.
extern "C" void run(const float* x, long height, long width, long channels, const float* masks,
                    long classes, long mask_height, long mask_width, const float* shift,
                    long chunk, long normalise, float epsilon, float* scores) {
    const Picture s{height, width, channels, classes, mask_height, mask_width, chunk};
    const long parts = s.chunks() * classes, step = classes * channels;
    std::vector<float> areas(parts), firsts(parts * channels), seconds(parts * channels);
    for (long i = 0; i < s.chunks(); i++)
        for (long c = 0; c < channels; c++)
            sum_chunk(s, x, masks, shift[c], c, i, areas.data(), firsts.data(),
                      seconds.data());
    std::vector<double> sums(3 * step);
    for (long at = 0; at < step; at++) {
        sums[at] = sum_chunks(&areas[at / channels], s.chunks(), classes);
        sums[step + at] = sum_chunks(&firsts[at], s.chunks(), step);
        sums[2 * step + at] = sum_chunks(&seconds[at], s.chunks(), step);
    }
    for (long c = 0; c < channels; c++)
        finish_channel(s, &sums[c], step, normalise != 0, epsilon, scores + c);
}
"""


@pytest.fixture(scope="module")
def on_processor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness")
    (folder / "harness.cpp").write_text(HARNESS)
    try:
        compiler = native.find_compiler()
    except native.BuildError as e:
        pytest.skip(str(e))
    subprocess.run(
        [
            *[compiler, "-O2", "-std=c++17", "-shared", "-fPIC", f"-I{native.SOURCES}"],
            *["harness.cpp", "-o", "harness.so"],
        ],
        cwd=folder,
        check=True,
    )
    return ctypes.CDLL(str(folder / "harness.so"))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("channels", "size"), [(33, 4), (16, 32), (7, 64), (3, 130)])
def test_arithmetic(on_processor, channels, size, normalise):
    a, masks = activation(channels, size), class_masks(9, 64).contiguous()
    pixels = a.permute(0, 2, 3, 1).contiguous()
    shift = a[0].flatten(1)[:, :5].mean(1) if normalise else torch.zeros(channels)
    found = torch.empty(9, channels)

    def at(t: torch.Tensor) -> ctypes.c_void_p:
        return ctypes.c_void_p(t.data_ptr())

    on_processor.run(
        at(pixels), c_long(size), c_long(size), c_long(channels), at(masks), c_long(9),
        c_long(64), c_long(64), at(shift), c_long(pooling_cuda.CHUNK), c_long(normalise),
        c_float(EPSILON), at(found),
    )  # fmt: skip
    expected = slow_energy(a, masks, normalise)[0].float()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_it_compiles(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    made = native.build(tmp_path, "*.cu", nvcc, pooling_cuda.flags((8, 0)))
    symbols = made.read_bytes()
    assert b"ris_class_energy_cuda" in symbols
    assert b"sm_80" in symbols


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("normalise", [True, False])
def test_on_a_gpu(normalise):
    a, masks = activation(100, 48, batch=2).cuda(), class_masks(9, 64, batch=2).cuda()
    for order in (torch.channels_last, torch.contiguous_format):
        x = a.contiguous(memory_format=order)
        found = class_energy(x, masks, normalise=normalise, impl="native")
        plain = class_energy(x, masks, normalise=normalise, impl="reference")
        torch.testing.assert_close(found, plain, atol=1e-4, rtol=1e-4)
