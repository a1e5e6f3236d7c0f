// Layers of a small network on channels-last activations, see ris/ops/layers.py.
//
// Between layers a pixel takes whole vectors: its channels, then zeros. Nothing here looks at
// anything but its arguments, so any number of threads may call it at once.
#include <cmath>
#include <cstdint>

#include "vectors.h"

using namespace ris;

namespace {

constexpr long TILE = 4 * ROWS;  // pixels whose inputs to the matrix product lie in the cache
constexpr int SIDE = 4;          // pixels of a row whose depthwise sums share what they load

enum Kind { CONVOLUTION, POOL, NORM, TRANSPOSE };

struct Layer {
    int64_t kind;
    int64_t source, source_stride;           // where the input lies, floats from pixel to pixel
    int64_t height, width, inputs;           // of the input
    int64_t target, rows, columns, outputs;  // where the output goes, and its sizes
    int64_t kernel, stride, top, left;       // of the convolution, or of the depthwise one
    int64_t skip, skip_stride;               // where what is added lies; stride 0: nothing is
    int64_t taps;                            // depthwise weights (9, input vectors), or 0
    int64_t weight, bias, slope;             // packed matrix, vectors; slope below zero, or 0
};

inline long padded(long channels) { return (channels + WIDTH - 1) / WIDTH * WIDTH; }
inline const float* numbers(int64_t address) { return reinterpret_cast<const float*>(address); }

// R rows (STRIDE apart) times `depth` rows of N vectors.
template <int R, int N>
inline void product(const float* left, const float* panel, long depth, Vector (&out)[ROWS][2]) {
    Vector s[R][N] = {};
    for (long k = 0; k < depth; k++, panel += N * WIDTH) {
        Vector b[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++) b[n] = load(panel + n * WIDTH);
#pragma GCC unroll 14
        for (int r = 0; r < R; r++) {
            const Vector a = all(left[r * STRIDE + k]);
#pragma GCC unroll 2
            for (int n = 0; n < N; n++) s[r][n] += a * b[n];
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int n = 0; n < N; n++) out[r][n] = s[r][n];
}

template <int N>
inline void product(const float* left, long rows, const float* panel, long depth,
                    Vector (&out)[ROWS][2]) {
    if (rows == 1)
        product<1, N>(left, panel, depth, out);
    else if (rows <= 4)
        product<4, N>(left, panel, depth, out);
    else if (rows <= 8 && ROWS > 8)
        product<std::min(8, ROWS), N>(left, panel, depth, out);
    else
        product<ROWS, N>(left, panel, depth, out);
}

// Sums of the nine taps at N neighbouring pixels; in(i, j) is where the pixel in row i and column j
// of the window lies.
template <int N, typename In>
inline void sum_taps(const Layer& l, const In& in, float* out) {
    constexpr int ACROSS = N + 2;
    const float* taps = numbers(l.taps);
    for (long c = 0; c < l.source_stride; c += WIDTH) {
        Vector s[N] = {};
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            Vector row[ACROSS];
#pragma GCC unroll 6
            for (int j = 0; j < ACROSS; j++) row[j] = load(in(i, j) + c);
#pragma GCC unroll 3
            for (int j = 0; j < 3; j++) {
                const Vector tap = load(taps + (3 * i + j) * l.source_stride + c);
#pragma GCC unroll 4
                for (int n = 0; n < N; n++) s[n] += row[n + j] * tap;
            }
        }
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) store(out + n * STRIDE + c, s[n]);
    }
}

// Depthwise 3x3 at N pixels of a row of the output, more than one only with a stride of 1.
template <int N>
void depthwise(const Layer& l, const float* image, long y, long x, float* out) {
    static const float zeros[DEPTH] = {};
    const long above = y * l.stride - l.top, before = x * l.stride - l.left;
    if (above >= 0 && above + 3 <= l.height && before >= 0 && before + N + 2 <= l.width) {
        const float* corner = image + (above * l.width + before) * l.source_stride;
        const long down = l.width * l.source_stride, right = l.source_stride;
        sum_taps<N>(l, [=](int i, int j) { return corner + i * down + j * right; }, out);
        return;
    }
    const float* from[3][N + 2];
    for (long i = 0; i < 3; i++)
        for (long j = 0; j < N + 2; j++) {
            const long row = above + i, column = before + j;
            const bool inside = row >= 0 && row < l.height && column >= 0 && column < l.width;
            from[i][j] = inside ? image + (row * l.width + column) * l.source_stride : zeros;
        }
    sum_taps<N>(l, [&](int i, int j) { return from[i][j]; }, out);
}

// The rows of the matrix product at pixels first..last: depthwise sums, ...
void gather_depthwise(const Layer& l, const float* image, long first, long last, float* out) {
    for (long p = first; p < last;) {
        const long y = p / l.columns, x = p % l.columns;
        if (l.stride == 1 && x + SIDE <= l.columns && p + SIDE <= last) {
            depthwise<SIDE>(l, image, y, x, out);
            p += SIDE, out += SIDE * STRIDE;
        } else {
            depthwise<1>(l, image, y, x, out);
            p += 1, out += STRIDE;
        }
    }
}

// ... the pixels themselves, ...
void gather_pixels(const Layer& l, const float* image, long first, long last, float* out) {
    for (long p = first; p < last; p++, out += STRIDE)
        for (long c = 0; c < l.source_stride; c += WIDTH)
            store(out + c, load(image + p * l.source_stride + c));
}

// ... or the pixels of the kernel's window one after another.
void gather_window(const Layer& l, const float* image, long first, long last, float* out) {
    const float* end = image + l.height * l.width * l.source_stride;
    const long side = l.kernel * l.inputs;  // of a row of the window, where pixels have no gaps
    for (long p = first; p < last; p++, out += STRIDE) {
        const long above = p / l.columns * l.stride - l.top;
        const long before = p % l.columns * l.stride - l.left;
        const bool whole = l.source_stride == l.inputs && before >= 0 && before + l.kernel <= l.width;
        float* to = out;
        for (long i = 0; i < l.kernel; i++) {
            const long row = above + i;
            const float* from = image + (row * l.width + before) * l.source_stride;
            if (whole && row >= 0 && row < l.height && from + side + WIDTH <= end) {
                // what is copied too much is overwritten, or lies behind the matrix's depth
                for (long c = 0; c < side; c += WIDTH) store(to + c, load(from + c));
                to += side;
                continue;
            }
            for (long j = 0; j < l.kernel; j++, to += l.inputs) {
                const long column = before + j;
                const bool inside = row >= 0 && row < l.height && column >= 0 && column < l.width;
                for (long c = 0; c < l.inputs; c++) to[c] = inside ? from[j * l.source_stride + c] : 0;
            }
        }
    }
}

void gather(const Layer& l, const float* image, long first, long last, float* out) {
    if (l.taps)
        gather_depthwise(l, image, first, last, out);
    else if (l.kernel == 1 && l.stride == 1 && l.source_stride % WIDTH == 0)
        gather_pixels(l, image, first, last, out);
    else
        gather_window(l, image, first, last, out);
}

// What follows the product at `count` pixels: bias, sum and activation, N vectors a pixel.
template <int N, bool ADD, bool BEND>
inline void finish(const Layer& l, const Vector (&sums)[ROWS][2], long count, long n,
                   const float* skip, float* out, long width) {
    for (int v = 0; v < N; v++) {
        const long c = n + v * WIDTH;
        const Vector bias = load(numbers(l.bias) + c);
        const Vector below = BEND ? load(numbers(l.slope) + c) : Vector{};
        const bool add = ADD && c < l.skip_stride;
        for (long r = 0; r < count; r++) {
            Vector sum = sums[r][v] + bias;
            if (add) sum += load(skip + r * l.skip_stride + c);
            if (BEND) sum = sum > 0 ? sum : sum * below;
            store(out + r * width + c, sum);
        }
    }
}

template <int N>
inline void columns(const Layer& l, const float* rows, long count, long n, long depth,
                    const float* skip, float* out, long width) {
    Vector s[ROWS][2];
    product<N>(rows, count, numbers(l.weight) + n * depth, depth, s);
    if (skip && l.slope)
        finish<N, true, true>(l, s, count, n, skip, out, width);
    else if (skip)
        finish<N, true, false>(l, s, count, n, skip, out, width);
    else if (l.slope)
        finish<N, false, true>(l, s, count, n, skip, out, width);
    else
        finish<N, false, false>(l, s, count, n, skip, out, width);
}

void convolve(const Layer& l, const float* image, const float* skip, float* out, float* rows) {
    const long pixels = l.rows * l.columns, width = padded(l.outputs);
    const long depth = l.taps ? l.inputs : l.kernel * l.kernel * l.inputs;
    for (long first = 0; first < pixels; first += TILE) {
        const long last = std::min(pixels, first + TILE);
        gather(l, image, first, last, rows);
        for (long n = 0; n < width; n += COLUMNS)
            for (long p = first; p < last; p += ROWS) {
                const float* from = rows + (p - first) * STRIDE;
                const float* added = skip ? skip + p * l.skip_stride : nullptr;
                const long count = std::min<long>(ROWS, last - p);
                if (width - n > WIDTH)
                    columns<2>(l, from, count, n, depth, added, out + p * width, width);
                else
                    columns<1>(l, from, count, n, depth, added, out + p * width, width);
            }
    }
}

void pool(const Layer& l, const float* image, float* out) {
    const long row = l.width * l.source_stride;
    for (long y = 0; y < l.rows; y++)
        for (long x = 0; x < l.columns; x++) {
            const float* from = image + 2 * y * row + 2 * x * l.source_stride;
            for (long c = 0; c < l.source_stride; c += WIDTH, out += WIDTH) {
                const Vector a = load(from + c), b = load(from + c + l.source_stride);
                const Vector d = load(from + c + row), e = load(from + c + row + l.source_stride);
                const Vector upper = a > b ? a : b, lower = d > e ? d : e;
                store(out, upper > lower ? upper : lower);
            }
        }
}

// Each pixel less its mean, over its deviation, times the gain.
void normalise(const Layer& l, const float* image, float* out) {
    const float *gain = numbers(l.slope), epsilon = *numbers(l.bias);
    const long pixels = l.height * l.width, channels = l.inputs;
    for (long p = 0; p < pixels; p++, image += channels, out += channels) {
        Vector total{}, squares{};
        for (long c = 0; c < channels; c += WIDTH) total += load(image + c);
        const Vector mean = all(sum(total) / channels);
        for (long c = 0; c < channels; c += WIDTH) {
            const Vector off = load(image + c) - mean;
            squares += off * off;
        }
        const Vector scale = all(1 / std::sqrt(sum(squares) / channels + epsilon));
        for (long c = 0; c < channels; c += WIDTH)
            store(out + c, (load(image + c) - mean) * (scale * load(gain + c)));
    }
}

// The pixels of a row become channels, and the channels pixels; and a sum.
void transpose(const Layer& l, const float* image, const float* skip, float* out) {
    const long width = padded(l.outputs);
    for (long p = 0; p < l.columns; p++, out += width) {
        for (long c = 0; c < width; c++)
            out[c] = c < l.outputs ? image[c * l.source_stride + p] : 0.0f;
        if (!skip) continue;
        for (long c = 0; c < l.skip_stride; c += WIDTH)
            store(out + c, load(out + c) + load(skip + p * l.skip_stride + c));
    }
}

}  // namespace

extern "C" {

// Floats of a vector, and the longest row of a matrix product.
long ris_layer_width() { return WIDTH; }
long ris_layer_depth() { return DEPTH; }

// (outputs, inputs) row-major -> the packed matrix of a layer: padded(outputs) * inputs floats.
void ris_layer_pack(const float* matrix, long inputs, long outputs, float* packed) {
    for (long n = 0; n < padded(outputs); n += COLUMNS) {
        const long end = std::min(n + COLUMNS, padded(outputs));
        for (long k = 0; k < inputs; k++)
            for (long m = n; m < end; m++)
                *packed++ = m < outputs ? matrix[m * inputs + k] : 0.0f;
    }
}

// Runs layers one after another. `memory` holds all that lies between them and at the end; places
// below zero are of what is given, from -1 down. Returns 0, or 1 where memory ran out.
int ris_layers(const void* table, long count, const float* const* given, float* memory) {
    const auto at = [=](int64_t place) { return place < 0 ? given[-1 - place] : memory + place; };
    return guarded([&] {
        const Layer* layers = static_cast<const Layer*>(table);
        std::vector<float> rows(TILE * STRIDE);  // zeros: a product may look past the last pixel
        for (long i = 0; i < count; i++) {
            const Layer& l = layers[i];
            const float *source = at(l.source), *skip = l.skip_stride ? at(l.skip) : nullptr;
            float* target = memory + l.target;
            switch (l.kind) {
                case CONVOLUTION: convolve(l, source, skip, target, rows.data()); break;
                case POOL: pool(l, source, target); break;
                case NORM: normalise(l, source, target); break;
                case TRANSPOSE: transpose(l, source, skip, target); break;
            }
        }
        return true;
    });
}

}  // extern "C"
