// Layers of MobileStyleGAN on channels-last activations, see ris/ops/separable.py.
#include "vectors.h"

using namespace ris;

namespace {

constexpr long TILE = 4 * ROWS;  // pixels whose inputs to the matrix product lie in the cache

// Depthwise 3x3 at pixels first..last: taps (9, channels) with the style in them.
void depthwise(const float* x, long height, long width, long channels, const float* taps,
               long first, long last, float* out) {
    static const float zeros[DEPTH] = {};
    for (long p = first; p < last; p++, out += STRIDE) {
        const long py = p / width, px = p % width;
        const float* from[9];
        for (long t = 0; t < 9; t++) {
            const long y = py + t / 3 - 1, xx = px + t % 3 - 1;
            const bool inside = y >= 0 && y < height && xx >= 0 && xx < width;
            from[t] = inside ? x + (y * width + xx) * channels : zeros;
        }
        for (long c = 0; c < channels; c += WIDTH) {
            Vector s = load(from[0] + c) * load(taps + c);
#pragma GCC unroll 8
            for (int t = 1; t < 9; t++) s += load(from[t] + c) * load(taps + t * channels + c);
            store(out + c, s);
        }
    }
}

}  // namespace

extern "C" {

// Floats that a packed matrix of `inputs` x `outputs` takes.
long ris_packed(long inputs, long outputs) {
    return (outputs + COLUMNS - 1) / COLUMNS * COLUMNS * inputs;
}

// (outputs, inputs) row-major -> the packed matrix that `ris_separable` takes.
void ris_pack(const float* matrix, long inputs, long outputs, float* packed) {
    pack(matrix, inputs, inputs, outputs, packed);
}

// Largest number of input channels, and what they must be a multiple of.
long ris_separable_depth() { return DEPTH; }
long ris_separable_step() { return COLUMNS; }

// Depthwise 3x3, pointwise, noise, bias, LeakyReLU of slope 0.2 for one image.
void ris_separable(const float* x, long height, long width, long inputs, long outputs,
                   const float* depth, const float* style, float scale, const float* weight,
                   const float* noise, const float* bias, float* out, long threads) {
    std::vector<float> taps(9 * inputs);
    for (long t = 0; t < 9; t++)
        for (long c = 0; c < inputs; c++)
            taps[t * inputs + c] = depth[t * inputs + c] * (style[c] * scale);
    const long pixels = height * width, tiles = (pixels + TILE - 1) / TILE;
    divide(tiles, threads, [&](long from, long to) {
        std::vector<float> rows(TILE * STRIDE);
        for (long tile = from; tile < to; tile++) {
            const long first = tile * TILE, last = std::min(pixels, first + TILE);
            depthwise(x, height, width, inputs, taps.data(), first, last, rows.data());
            for (long n = 0; n < outputs; n += COLUMNS) {
                const Vector b0 = load(bias + n), b1 = load(bias + n + WIDTH);
                for (long p = first; p < last; p += ROWS) {
                    Vector s[ROWS][2];
                    multiply(&rows[(p - first) * STRIDE], weight + n * inputs, inputs, s);
                    for (long r = 0; r < std::min<long>(ROWS, last - p); r++) {
                        const Vector added = all(noise[p + r]);
                        const Vector v0 = s[r][0] + (added + b0), v1 = s[r][1] + (added + b1);
                        float* o = out + (p + r) * outputs + n;
                        store(o, v0 > 0 ? v0 : v0 * 0.2f);
                        store(o + WIDTH, v1 > 0 ? v1 : v1 * 0.2f);
                    }
                }
            }
        }
    });
}

// Inverse Haar transform of a scaled image: (H, W, 4c) -> (2H, 2W, c), times a half.
void ris_haar_up(const float* x, long height, long width, long channels, const float* style,
                 float* out, long threads) {
    const long c = channels / 4;
    divide(height, threads, [&](long from, long to) {
        std::vector<float> scaled(channels);
        for (long y = from; y < to; y++)
            for (long col = 0; col < width; col++) {
                const float* in = x + (y * width + col) * channels;
                for (long i = 0; i < channels; i++) scaled[i] = in[i] * (style[i] * 0.5f);
                const float *ll = scaled.data(), *rest = ll + c;
                float* top = out + (2 * y * 2 * width + 2 * col) * c;
                float* bottom = top + 2 * width * c;
                for (long i = 0; i < c; i++) {
                    const float lh = rest[3 * i], hl = rest[3 * i + 1], hh = rest[3 * i + 2];
                    const float up = ll[i] + lh, down = ll[i] - lh;
                    const float right_up = hl + hh, right_down = hl - hh;
                    top[i] = up + right_up;
                    top[c + i] = up - right_up;
                    bottom[i] = down + right_down;
                    bottom[c + i] = down - right_down;
                }
            }
    });
}

}  // extern "C"
