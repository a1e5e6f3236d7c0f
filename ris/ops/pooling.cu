// Class energies of channels-last activations (Eq. 1) on a GPU, see ris/ops/pooling_cuda.py.
#include "pooling.h"

using namespace ris;

namespace {

// A thread a channel, a block some channels of one chunk of one image.
__global__ void sum_chunks_of(Picture s, const float* x, const float* masks, const float* shift,
                              float* areas, float* firsts, float* seconds) {
    const long channel = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
    const long image = blockIdx.z, parts = s.chunks() * s.classes;
    if (channel >= s.channels) return;
    sum_chunk(s, x + image * s.pixels() * s.channels,
              masks + image * s.classes * s.mask_height * s.mask_width,
              shift[image * s.channels + channel], channel, blockIdx.y, areas + image * parts,
              firsts + image * parts * s.channels, seconds + image * parts * s.channels);
}

// A thread a class and channel: `sums` gets (3, images, classes, channels).
__global__ void add_chunks(Picture s, long images, const float* areas, const float* firsts,
                           const float* seconds, double* sums) {
    const long one = s.classes * s.channels, all = images * one;
    const long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= all) return;
    const long image = at / one, within = at % one, step = s.classes * s.channels;
    const long parts = image * s.chunks();
    sums[at] = sum_chunks(areas + parts * s.classes + within / s.channels, s.chunks(), s.classes);
    sums[all + at] = sum_chunks(firsts + parts * step + within, s.chunks(), step);
    sums[2 * all + at] = sum_chunks(seconds + parts * step + within, s.chunks(), step);
}

// A thread a channel.
__global__ void finish(Picture s, long images, const double* sums, bool normalise, double epsilon,
                       float* scores) {
    const long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= images * s.channels) return;
    const long from = at / s.channels * s.classes * s.channels + at % s.channels;
    finish_channel(s, sums + from, images * s.classes * s.channels, normalise, epsilon,
                   scores + from);
}

unsigned blocks(long count, long size) { return static_cast<unsigned>((count + size - 1) / size); }

}  // namespace

extern "C" {

// All pointers are the GPU's. x (B, H, W, C); masks (B, K, h, w); shift (B, C); areas (B, chunks,
// K), firsts and seconds (B, chunks, K, C) and sums (3, B, K, C) are filled on the way; scores
// (B, K, C). Returns a CUDA error, 0 for none; the work is on the stream by then, not done.
int ris_class_energy_cuda(const float* x, long images, long height, long width, long channels,
                          const float* masks, long classes, long mask_height, long mask_width,
                          const float* shift, long chunk, long normalise, float epsilon,
                          float* areas, float* firsts, float* seconds, double* sums,
                          float* scores, void* stream) {
    const Picture s{height, width, channels, classes, mask_height, mask_width, chunk};
    const long threads = channels < 128 ? (channels + 31) / 32 * 32 : 128;
    const auto on = static_cast<cudaStream_t>(stream);
    const dim3 grid(blocks(channels, threads), static_cast<unsigned>(s.chunks()),
                    static_cast<unsigned>(images));
    sum_chunks_of<<<grid, static_cast<unsigned>(threads), 0, on>>>(s, x, masks, shift, areas,
                                                                   firsts, seconds);
    add_chunks<<<blocks(images * classes * channels, 128), 128, 0, on>>>(s, images, areas, firsts,
                                                                         seconds, sums);
    finish<<<blocks(images * channels, 128), 128, 0, on>>>(s, images, sums, normalise != 0,
                                                           epsilon, scores);
    return static_cast<int>(cudaGetLastError());
}

}  // extern "C"
