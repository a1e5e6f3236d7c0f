// Runs every kernel over valid, extreme and hostile inputs, for a build with sanitizers. All arrays
// have exactly the size that a kernel may touch, so that one step beyond any of them ends the run.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "parts.h"
#include "pooling.h"

extern "C" {
int ris_code_ends(const std::int8_t*, std::int64_t, std::int64_t, const std::int16_t*,
                  const std::uint8_t*, std::int64_t, int, std::int64_t*, std::int64_t*,
                  std::int64_t*);
int ris_score_ends(const float*, std::int64_t, const std::uint8_t*, std::int64_t, int,
                   std::int64_t*, std::int64_t*, std::int64_t*);
int ris_half_products(const std::uint16_t*, std::int64_t, std::int64_t, const double*,
                      const std::int64_t*, std::int64_t, int, float*);
int ris_sparse_products(const std::int64_t*, std::int64_t, const std::uint16_t*,
                        const std::uint16_t*, std::int64_t, const double*, const std::int64_t*,
                        std::int64_t, int, float*);
int ris_row_sums(const std::uint16_t*, std::int64_t, std::int64_t, const std::uint32_t*,
                 const std::int64_t*, std::int64_t, int, std::int64_t*);
int ris_sparse_sums(const std::int64_t*, std::int64_t, const std::uint16_t*, const std::uint16_t*,
                    std::int64_t, const std::uint32_t*, std::int64_t, const std::int64_t*,
                    std::int64_t, int, std::int64_t*);
int ris_class_energy(const float*, long, long, long, long, const float*, long, long, long, long,
                     float, float*, long);
void* ris_segmenter(long, const long*, const float*, long, const float*, const std::int64_t*);
void ris_segmenter_free(void*);
int ris_labels(const void*, const float* const*, long, std::int64_t*, long);
long ris_packed(long, long);
void ris_pack(const float*, long, long, float*);
long ris_separable_depth();
long ris_separable_step();
int ris_separable(const float*, long, long, long, long, const float*, const float*, float,
                  const float*, const float*, const float*, float*, long);
int ris_dense(const float*, long, long, long, long, const float*, float, const float*,
              const float*, const float*, float*, long);
long ris_layer_width();
long ris_layer_depth();
void ris_layer_pack(const float*, long, long, float*);
int ris_layers(const void*, long, const float* const*, float*);
int ris_haar_up(const float*, long, long, long, const float*, float*, long);
}

namespace {

std::mt19937_64 draw(0);
long calls = 0;

void expect(bool holds, const char* what) {
    calls++;
    if (holds) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::exit(3);
}

// An array of its own on the heap, without spare room.
template <class T>
struct Array {
    std::unique_ptr<T[]> at;
    long size;
    explicit Array(long size) : at(new T[static_cast<size_t>(size)]()), size(size) {}
    template <class Make>
    Array(long size, Make make) : Array(size) {
        for (long i = 0; i < size; i++) at[i] = static_cast<T>(make());
    }
    operator T*() { return at.get(); }
};

std::uint64_t any() { return draw(); }
float number() { return static_cast<float>(static_cast<std::int64_t>(draw() >> 40)) * 1e-7f - .8f; }

// Numbers among which there are infinite ones, ones that are none, and very large ones.
float hostile() {
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f};
    return draw() % 4 ? number() : odd[draw() % 8];
}

void scans(int threads) {
    for (long rows : {1L, 5L, 511L, 513L, 1600L})
        for (long width : {1L, 31L, 128L, 512L}) {
            Array<std::int8_t> codes(rows * width, any);
            for (long i = 0; i < width; i++) codes[i] = -128;
            Array<std::int16_t> query(width, [] { return draw() % 65535 - 32767; });
            if (rows == 5) query = Array<std::int16_t>(width, [] { return 32767; });
            Array<std::uint8_t> allowed(rows, [] { return draw() % 2; });
            Array<float> scores(rows, hostile);
            for (long keep : {1L, std::min(7L, rows), rows}) {
                Array<std::int64_t> near(keep), far(keep), found(2);
                for (const std::uint8_t* some : {static_cast<const std::uint8_t*>(allowed),
                                                 static_cast<const std::uint8_t*>(nullptr)}) {
                    expect(!ris_code_ends(codes, rows, width, query, some, keep, threads, near,
                                          far, found), "codes");
                    expect(!ris_score_ends(scores, rows, some, keep, threads, near, far, found),
                           "scores");
                }
            }
        }
    for (long dims : {1L, 31L, 32L, 33L, 100L}) {
        const long rows = 60;
        Array<std::uint16_t> half(rows * dims, any);
        Array<double> query(dims, number);
        Array<std::uint32_t> keys(dims, any);
        Array<std::int64_t> list(40, [] { return draw() % 60; }), sums(rows);
        Array<float> out(rows);
        expect(!ris_half_products(half, rows, dims, query, nullptr, rows, threads, out), "all");
        expect(!ris_half_products(half, rows, dims, query, list, 40, threads, out), "some");
        expect(!ris_row_sums(half, rows, dims, keys, nullptr, rows, threads, sums), "all sums");
        expect(!ris_half_products(half, rows, dims, query, list, 0, threads, out), "none");
        for (std::int64_t bad : {-1L, 60L, 1L << 40, -(1L << 62)}) {
            list[17] = bad;
            expect(ris_half_products(half, rows, dims, query, list, 40, threads, out) == 2, "row");
            expect(ris_row_sums(half, rows, dims, keys, list, 40, threads, sums) == 2, "sum");
        }
    }
}

// Rows of 1 to 9 values, then what one flipped bit or a wild number makes of an end.
void sparse(int threads) {
    const long rows = 200, dims = 3000;
    Array<std::int64_t> ends(rows);
    long count = 0;
    for (long i = 0; i < rows; i++) ends[i] = count += 1 + static_cast<long>(draw() % 9);
    Array<std::uint16_t> channels(count, any), values(count, any);  // channels beyond D, too
    Array<double> query(65536, number);
    Array<std::uint32_t> keys(2 * dims, any);
    Array<std::int64_t> list(70, [] { return draw() % 200; }), sums(rows);
    Array<float> out(rows);
    expect(!ris_sparse_products(ends, rows, channels, values, count, query, nullptr, rows, threads,
                                out), "sparse");
    for (int round = 0; round < 400; round++) {
        const long at = static_cast<long>(draw() % rows);
        const std::int64_t before = ends[at];
        ends[at] = round % 2 ? before ^ (std::int64_t{1} << (draw() % 63))
                             : static_cast<std::int64_t>(draw());
        const long last = at + 1 < rows ? ends[at + 1] : count;
        const bool bad = ends[at] <= (at ? ends[at - 1] : 0) || ends[at] >= last;
        if (bad && at + 1 < rows)
            expect(ris_sparse_products(ends, rows, channels, values, count, query, nullptr, rows,
                                       threads, out) == 2, "an end that cannot be");
        ris_sparse_products(ends, rows, channels, values, count, query, list, 70, threads, out);
        expect(!ris_sparse_sums(ends, rows, channels, values, count, keys, dims, nullptr, rows,
                                threads, sums), "sums");
        ris_sparse_sums(ends, rows, channels, values, count, keys, 2, list, 70, threads, sums);
        ends[at] = before;
    }
}

// The kernels for a GPU, a thread after the other.
void on_gpu(const ris::Picture& s, const float* x, const float* masks, const float* shift) {
    const long parts = s.chunks() * s.classes, step = s.classes * s.channels;
    Array<float> areas(parts), firsts(parts * s.channels), seconds(parts * s.channels);
    Array<float> scores(step);
    for (long i = 0; i < s.chunks(); i++)
        for (long c = 0; c < s.channels; c++)
            ris::sum_chunk(s, x, masks, shift[c], c, i, areas, firsts, seconds);
    Array<double> sums(3 * step);
    for (long at = 0; at < step; at++) {
        sums[at] = ris::sum_chunks(areas + at / s.channels, s.chunks(), s.classes);
        sums[step + at] = ris::sum_chunks(firsts + at, s.chunks(), step);
        sums[2 * step + at] = ris::sum_chunks(seconds + at, s.chunks(), step);
    }
    for (long c = 0; c < s.channels; c++)
        ris::finish_channel(s, sums + c, step, true, 1e-5, scores + c);
}

void pooling(long threads, float (*make)()) {
    const long sides[][2] = {{1, 1}, {1, 7}, {7, 1}, {16, 16}, {33, 5}, {2, 600}};
    for (const auto& side : sides)
        for (long channels : {1L, 5L, 16L, 70L, 130L})
            for (long classes : {1L, 4L, 9L}) {
                const long h = side[0], w = side[1];
                Array<float> x(h * w * channels, make), scores(classes * channels);
                Array<float> shift(channels, make);
                for (long mask : {1L, 3L, 40L}) {
                    Array<float> masks(classes * mask * (mask + 1), make);
                    for (long last : {0L, 1L})
                        expect(!ris_class_energy(x, last, h, w, channels, masks, classes, mask,
                                                 mask + 1, channels % 2, 1e-5f, scores, threads),
                               "energies");
                    on_gpu({h, w, channels, classes, mask, mask + 1, 512}, x, masks, shift);
                }
            }
}

void labels(long threads, float (*make)()) {
    const long step = ris_separable_step(), depth = ris_separable_depth();
    for (long clusters : {1L, 5L, step, 3 * step + 1}) {
        const long channels[] = {step, depth};
        const float weights[] = {1, .5f};
        Array<float> centres(clusters * (step + depth), number);
        Array<std::int64_t> classes(clusters, [] { return draw() % 4; });
        void* made = ris_segmenter(2, channels, weights, clusters, centres, classes);
        for (long pixels : {1L, 3L, 55L, 57L, 300L}) {
            Array<float> one(pixels * step, make), two(pixels * depth, make);
            const float* x[] = {one, two};
            Array<std::int64_t> out(pixels);
            expect(!ris_labels(made, x, pixels, out, threads), "labels");
            for (long i = 0; i < pixels; i++) expect(out[i] >= -1 && out[i] < 4, "a class");
        }
        ris_segmenter_free(made);
    }
}

void layers(long threads, float (*make)()) {
    const long step = ris_separable_step();
    for (long inputs : {step, ris_separable_depth()})
        for (long outputs : {step, 2 * step})
            for (long h : {1L, 2L, 4L, 9L})
                for (long w : {1L, 3L, 4L, 8L}) {
                    const long size = ris_packed(inputs, outputs);
                    Array<float> x(h * w * inputs, make), style(inputs, make), noise(h * w, make);
                    Array<float> bias(outputs, make), out(h * w * outputs);
                    Array<float> taps(9 * inputs, make), matrix(outputs * inputs, make);
                    Array<float> packed(size), nine(9 * size, make);
                    ris_pack(matrix, inputs, outputs, packed);
                    expect(!ris_separable(x, h, w, inputs, outputs, taps, style, 1.5f, packed,
                                          noise, bias, out, threads), "separable");
                    expect(!ris_dense(x, h, w, inputs, outputs, style, 1.5f, nine, noise, bias, out,
                                      threads), "dense");
                }
    for (long channels : {4L, 8L, 60L})
        for (long h : {1L, 3L})
            for (long w : {1L, 5L}) {
                Array<float> x(h * w * channels, make), style(channels, make);
                Array<float> out(h * w * channels);
                expect(!ris_haar_up(x, h, w, channels, style, out, threads), "haar");
            }
}

// One layer of a small network, with an input and a memory of just its size.
void small(long h, long w, long in, long out, long kernel, long stride, bool taps, bool skip,
           bool bent, float (*make)()) {
    const long unit = ris_layer_width();
    const auto wide = [=](long n) { return (n + unit - 1) / unit * unit; };
    const long from = taps || kernel == 1 ? wide(in) : in, to = wide(out);
    const long depth = taps ? from : kernel * kernel * in;
    const long rows = (h + stride - 1) / stride, columns = (w + stride - 1) / stride;
    const long edge = kernel / 2, size = rows * columns * to;
    Array<float> given(h * w * from, make), memory(2 * size, make);
    Array<float> matrix(out * depth, make), packed(to * depth), bias(to, make), slope(to, make);
    Array<float> depthwise(9 * from, make);
    ris_layer_pack(matrix, depth, out, packed);
    const auto at = [](float* p) { return reinterpret_cast<std::int64_t>(p); };
    const std::int64_t layer[] = {
        0, -1, from, h, w, taps ? from : in, 0, rows, columns, out, kernel, stride, edge, edge,
        size, skip ? to : 0, taps ? at(depthwise) : 0, at(packed), at(bias), bent ? at(slope) : 0};
    const float* values[] = {given};
    expect(!ris_layers(layer, 1, values, memory), "a layer");
}

void networks(float (*make)()) {
    const long unit = ris_layer_width();
    for (long h : {1L, 2L, 5L, 16L})
        for (long w : {1L, 3L, 8L})
            for (long out : {1L, unit, 3 * unit + 2})
                for (bool more : {false, true})
                    for (long stride : {1L, 2L}) {
                        small(h, w, 3, out, 3, stride, false, more, !more, make);
                        small(h, w, unit + 1, out, 3, stride, true, more, more, make);
                        small(h, w, 2 * unit, out, 1, 1, false, more, more, make);
                        small(h, w, ris_layer_depth(), out, 1, 1, false, more, more, make);
                        small(h, w, 8, out, 5, stride, false, more, more, make);
                    }
    for (long h : {2L, 6L})
        for (long w : {2L, 4L}) {
            Array<float> given(h * w * 2 * unit, make), memory(h * w * 2 * unit / 4);
            const std::int64_t layer[20] = {1, -1, 2 * unit, h, w, 2 * unit, 0,
                                            h / 2, w / 2, 2 * unit};
            const float* values[] = {given};
            expect(!ris_layers(layer, 1, values, memory), "a maximum");
            // a norm, then pixels and channels change places
            const long pixels = h * w, turned = (pixels + unit - 1) / unit * unit;
            Array<float> gain(2 * unit, make), epsilon(1), sum(2 * unit * turned, make);
            Array<float> room(pixels * 2 * unit + 2 * unit * turned);
            epsilon[0] = 1e-5f;
            const auto at = [](float* p) { return reinterpret_cast<std::int64_t>(p); };
            const std::int64_t both[] = {
                2, -1, 2 * unit, 1, pixels, 2 * unit, 0, 1, pixels, 2 * unit,
                0, 0, 0, 0, 0, 0, 0, 0, at(epsilon), at(gain),
                3, 0, 2 * unit, 1, pixels, 2 * unit, pixels * 2 * unit, 1, 2 * unit, pixels,
                0, 0, 0, 0, -2, turned, 0, 0, 0, 0};
            const float* more[] = {given, sum};
            expect(!ris_layers(both, 2, more, room), "a norm and a transpose");
        }
}

void exhausted() {
    for (int part : {0, 3}) {
        const int told = ris::guarded([&] {
            ris::divide_numbered(8L, 4, [&](long, long, int p) {
                if (p == part) throw std::bad_alloc();
            });
            return true;
        });
        expect(told == 1, "memory that runs out in a thread is told");
    }
}

}  // namespace

// With an argument: reads one channel beyond a query, which a sanitizer that works does not pass.
int main(int count, char**) {
    if (count > 1) {
        Array<std::int64_t> ends(1);
        Array<std::uint16_t> channels(1), values(1);
        Array<double> query(4);
        Array<float> out(1);
        ends[0] = 1, channels[0] = 4;
        ris_sparse_products(ends, 1, channels, values, 1, query, nullptr, 1, 1, out);
        return 0;
    }
    exhausted();
    for (int threads : {1, 3}) {
        scans(threads);
        sparse(threads);
        for (auto make : {number, hostile}) {
            pooling(threads, make);
            labels(threads, make);
            layers(threads, make);
            networks(make);
        }
    }
    std::printf("%ld checks\n", calls);
}
