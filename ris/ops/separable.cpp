// Layers of MobileStyleGAN on channels-last activations, see ris/ops/separable.py.
#include "vectors.h"

using namespace ris;

namespace {

constexpr long TILE = 4 * ROWS;  // pixels whose inputs to the matrix product lie in the cache

constexpr int SIDE = 4;  // pixels of a row whose depthwise sums share what they load

// Depthwise 3x3 at N neighbouring pixels from (y, x) on: taps (9, channels) with the style in them.
template <int N>
void depthwise(const float* image, long height, long width, long channels, const float* taps,
               long y, long x, float* out) {
    static const float zeros[DEPTH] = {};
    const float* from[3][N + 2];
    for (long i = 0; i < 3; i++)
        for (long j = 0; j < N + 2; j++) {
            const long row = y + i - 1, column = x + j - 1;
            const bool inside = row >= 0 && row < height && column >= 0 && column < width;
            from[i][j] = inside ? image + (row * width + column) * channels : zeros;
        }
    for (long c = 0; c < channels; c += WIDTH) {
        Vector s[N] = {};
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            Vector in[N + 2];
#pragma GCC unroll 6
            for (int j = 0; j < N + 2; j++) in[j] = load(from[i][j] + c);
#pragma GCC unroll 3
            for (int j = 0; j < 3; j++) {
                const Vector tap = load(taps + (3 * i + j) * channels + c);
#pragma GCC unroll 4
                for (int n = 0; n < N; n++) s[n] += in[n + j] * tap;
            }
        }
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) store(out + n * STRIDE + c, s[n]);
    }
}

// The same at pixels first..last.
void depthwise(const float* image, long height, long width, long channels, const float* taps,
               long first, long last, float* out) {
    for (long p = first; p < last;) {
        const long y = p / width, x = p % width;
        if (x + SIDE <= width && p + SIDE <= last) {
            depthwise<SIDE>(image, height, width, channels, taps, y, x, out);
            p += SIDE, out += SIDE * STRIDE;
        } else {
            depthwise<1>(image, height, width, channels, taps, y, x, out);
            p += 1, out += STRIDE;
        }
    }
}

inline Vector leaky(Vector v) { return v > 0 ? v : v * 0.2f; }

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

// Depthwise 3x3, pointwise, noise, bias, LeakyReLU of slope 0.2 for one image. This and the
// functions below return 0, or 1 where memory ran out.
int ris_separable(const float* x, long height, long width, long inputs, long outputs,
                  const float* depth, const float* style, float scale, const float* weight,
                  const float* noise, const float* bias, float* out, long threads) {
    return guarded([&] {
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
                        multiply(&rows[(p - first) * STRIDE], last - p, weight + n * inputs, inputs, s);
                        for (long r = 0; r < std::min<long>(ROWS, last - p); r++) {
                            const Vector added = all(noise[p + r]);
                            float* o = out + (p + r) * outputs + n;
                            store(o, leaky(s[r][0] + (added + b0)));
                            store(o + WIDTH, leaky(s[r][1] + (added + b1)));
                        }
                    }
                }
            }
        });
        return true;
    });
}

// Full 3x3 convolution of a small image, noise, bias and LeakyReLU; `weight` holds nine packed
// matrices.
int ris_dense(const float* x, long height, long width, long inputs, long outputs,
              const float* style, float scale, const float* weight, const float* noise,
              const float* bias, float* out, long threads) {
    return guarded([&] {
        const long pixels = height * width;
        std::vector<float> rows(9 * pixels * STRIDE + ROWS * STRIDE, 0.0f);  // by taps
        for (long t = 0; t < 9; t++)
            for (long p = 0; p < pixels; p++) {
                const long y = p / width + t / 3 - 1, col = p % width + t % 3 - 1;
                if (y < 0 || y >= height || col < 0 || col >= width) continue;
                const float* from = x + (y * width + col) * inputs;
                float* row = &rows[(t * pixels + p) * STRIDE];
                for (long c = 0; c < inputs; c++) row[c] = from[c] * (style[c] * scale);
            }
        divide(outputs / COLUMNS, threads, [&](long from, long to) {
            for (long n = from * COLUMNS; n < to * COLUMNS; n += COLUMNS) {
                const Vector b0 = load(bias + n), b1 = load(bias + n + WIDTH);
                for (long p = 0; p < pixels; p += ROWS) {
                    const long count = std::min<long>(ROWS, pixels - p);
                    Vector total[ROWS][2] = {}, s[ROWS][2];
                    for (long t = 0; t < 9; t++) {
                        multiply(&rows[(t * pixels + p) * STRIDE], count,
                                 weight + (t * outputs + n) * inputs, inputs, s);
                        for (long r = 0; r < count; r++)
                            total[r][0] += s[r][0], total[r][1] += s[r][1];
                    }
                    for (long r = 0; r < count; r++) {
                        const Vector added = all(noise[p + r]);
                        float* o = out + (p + r) * outputs + n;
                        store(o, leaky(total[r][0] + (added + b0)));
                        store(o + WIDTH, leaky(total[r][1] + (added + b1)));
                    }
                }
            }
        });
        return true;
    });
}

// Inverse Haar transform of a scaled image: (H, W, 4c) -> (2H, 2W, c), times a half.
int ris_haar_up(const float* x, long height, long width, long channels, const float* style,
                float* out, long threads) {
    return guarded([&] {
        const long c = channels / 4;
        divide(height, threads, [&](long from, long to) {
            std::vector<float> scaled(channels);
            for (long y = from; y < to; y++)
                for (long col = 0; col < width; col++) {
                    const float* in = x + (y * width + col) * channels;
                    for (long i = 0; i < channels; i++) scaled[i] = in[i] * (style[i] * 0.5f);
                    const float* __restrict ll = scaled.data();
                    const float* __restrict rest = ll + c;
                    float* __restrict top = out + (2 * y * 2 * width + 2 * col) * c;
                    float* __restrict bottom = top + 2 * width * c;
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
        return true;
    });
}

}  // extern "C"
