// The class of every pixel by its nearest cluster centre (Sec. 3.1), see ris/ops/segmentation.py.
//
// Where the processor multiplies bytes, all products are taken of activations and centres in eight
// bits first. A bound on what that changes tells the few pixels whose class it may change, and
// those are done again in single precision.
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <memory>

#include "vectors.h"
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // gcc 12 warns of its own header
#include <immintrin.h>
#define RIS_BYTES 1
#endif

using namespace ris;

namespace {

constexpr long TILE = 4 * ROWS;
constexpr long CHUNK = 512;   // pixels between two roundings up into doubles
constexpr long SAMPLES = 64;  // pixels whose mean is the shift of a channel

// The part of the centres that belongs to a layer.
struct Part {
    long channels;
    float weight;
    std::vector<float> centres;  // in panels, see pack
#if RIS_BYTES
    std::vector<int8_t> bytes;          // the same panels, four channels of a column together
    std::vector<float> steps, offsets;  // of a column: size of a unit, and what 128 adds
    float longest = 0, farthest = 0;    // length of a centre, and of what its bytes lack
#endif
};

struct Segmenter {
    std::vector<Part> parts;
    long clusters;               // rounded up to whole panels
    std::vector<float> classes;  // of every cluster
    std::vector<float> start;    // of its score: 0, or lowest for one that fills a panel
};

// A layer's activation (pixels, channels) with mean and 1 / deviation of every channel.
struct Layer {
    const Part& part;
    const float* x;
    std::vector<float> mean, scale;
};

struct Moments {
    std::vector<double> ones, twos;
};

// Adds the sums over some pixels of N vectors of channels from `c` on, and of their squares.
template <int N>
void add_pixels(const float* x, long first, long last, long channels, long c, const float* shift,
         Moments& to) {
    Vector s[N] = {}, q[N] = {}, centre[N];
    for (int i = 0; i < N; i++) centre[i] = load(shift + c + i * WIDTH);
    for (long p = first; p < last; p++)
        for (int i = 0; i < N; i++) {
            const Vector a = load(x + p * channels + c + i * WIDTH) - centre[i];
            s[i] += a;
            q[i] += a * a;
        }
    for (int i = 0; i < N; i++) {
        add(&to.ones[c + i * WIDTH], s[i]);
        add(&to.twos[c + i * WIDTH], q[i]);
    }
}

void normalise(Layer& layer, long pixels, long threads) {
    const long n = layer.part.channels, count = std::min(SAMPLES, pixels);
    std::vector<float> shift(n, 0.0f);
    for (long i = 0; i < count; i++) {
        const float* row = layer.x + (2 * i + 1) * pixels / (2 * count) * n;
        for (long c = 0; c < n; c++) shift[c] += row[c] / static_cast<float>(count);
    }
    const long chunks = (pixels + CHUNK - 1) / CHUNK, parts = std::min(PARTS, chunks);
    std::vector<Moments> sums(parts, {std::vector<double>(n), std::vector<double>(n)});
    divide(parts, threads, [&](long from, long to) {
        for (long t = from; t < to; t++)
            for (long chunk = chunks * t / parts; chunk < chunks * (t + 1) / parts; chunk++) {
                const long first = chunk * CHUNK, last = std::min(pixels, first + CHUNK);
                long c = 0;
                for (; c + 4 * WIDTH <= n; c += 4 * WIDTH)
                    add_pixels<4>(layer.x, first, last, n, c, shift.data(), sums[t]);
                for (; c < n; c += WIDTH)
                    add_pixels<1>(layer.x, first, last, n, c, shift.data(), sums[t]);
            }
    });
    layer.mean.resize(n), layer.scale.resize(n);
    for (long c = 0; c < n; c++) {
        double one = 0, two = 0;
        for (const Moments& part : sums) one += part.ones[c], two += part.twos[c];
        one /= static_cast<double>(pixels), two /= static_cast<double>(pixels);
        layer.mean[c] = static_cast<float>(shift[c] + one);
        layer.scale[c] = static_cast<float>(1 / std::sqrt(two - one * one + 1e-5));
    }
}

// Normalised pixel of a layer into a row; returns its length.
float normalised(const Layer& layer, long pixel, float* row) {
    const long channels = layer.part.channels;
    const float* x = layer.x + pixel * channels;
    Vector squares = {};
    for (long c = 0; c < channels; c += WIDTH) {
        const Vector v = (load(x + c) - load(&layer.mean[c])) * load(&layer.scale[c]);
        store(row + c, v);
        squares += v * v;
    }
    return std::max(std::sqrt(sum(squares)), 1e-6f);
}

// Best class of a row of scores, and how far the best of the others is behind.
int best_class(const float* scores, const float* classes, long clusters, float& ahead) {
    Vector high = all(-FLT_MAX), owner = {};
    for (long n = 0; n < clusters; n += WIDTH) {
        const Vector v = load(scores + n);
        const auto more = v > high;
        high = more ? v : high;
        owner = more ? load(classes + n) : owner;
    }
    float best = -FLT_MAX, found = 0;
    for (int i = 0; i < WIDTH; i++)
        if (high[i] > best) best = high[i], found = owner[i];
    Vector second = all(-FLT_MAX);
    for (long n = 0; n < clusters; n += WIDTH) {
        const Vector v = load(scores + n);
        second = (load(classes + n) != all(found) && v > second) ? v : second;
    }
    float next = -FLT_MAX;
    for (int i = 0; i < WIDTH; i++) next = std::max(next, second[i]);
    ahead = best - next;
    return static_cast<int>(found);
}

struct Task {
    const Segmenter& by;
    std::vector<Layer> layers;
    int64_t* labels;
};

// Scores in single precision of up to TILE pixels, and their classes.
void exactly(const Task& task, const std::vector<long>& pixels, std::vector<float>& rows,
             std::vector<float>& scores) {
    const long count = static_cast<long>(pixels.size()), clusters = task.by.clusters;
    float factor[TILE], ahead;
    for (long p = 0; p < count; p++)
        std::copy(task.by.start.begin(), task.by.start.end(), &scores[p * clusters]);
    for (const Layer& layer : task.layers) {
        const Part& part = layer.part;
        for (long p = 0; p < count; p++)
            factor[p] = part.weight / normalised(layer, pixels[p], &rows[p * STRIDE]);
        for (long n = 0; n < clusters; n += COLUMNS)
            for (long first = 0; first < count; first += ROWS) {
                Vector s[ROWS][2];
                multiply(&rows[first * STRIDE], count - first, &part.centres[n * part.channels],
                         part.channels, s);
                for (long r = 0; r < std::min<long>(ROWS, count - first); r++) {
                    float* out = &scores[(first + r) * clusters + n];
                    const Vector times = all(factor[first + r]);
                    store(out, load(out) + times * s[r][0]);
                    store(out + WIDTH, load(out + WIDTH) + times * s[r][1]);
                }
            }
    }
    for (long p = 0; p < count; p++)
        task.labels[pixels[p]] =
            best_class(&scores[p * clusters], task.by.classes.data(), clusters, ahead);
}

#if RIS_BYTES

void to_bytes(Part& part, long clusters) {
    const long depth = part.channels;
    part.bytes.resize(clusters * depth);
    part.steps.resize(clusters), part.offsets.resize(clusters);
    for (long n = 0; n < clusters; n++) {
        const float* panel = &part.centres[n / COLUMNS * COLUMNS * depth + n % COLUMNS];
        int8_t* out = &part.bytes[n / COLUMNS * COLUMNS * depth + n % COLUMNS * 4];
        float most = FLT_MIN, squares = 0, lost = 0;
        for (long k = 0; k < depth; k++) most = std::max(most, std::fabs(panel[k * COLUMNS]));
        const float step = most / 127;
        long total = 0;
        for (long k = 0; k < depth; k++) {
            const float value = panel[k * COLUMNS], unit = std::nearbyint(value / step);
            out[k / 4 * 4 * COLUMNS + k % 4] = static_cast<int8_t>(unit);
            total += static_cast<long>(unit);
            squares += value * value;
            lost += (value - step * unit) * (value - step * unit);
        }
        part.steps[n] = step;
        part.offsets[n] = step * 128 * static_cast<float>(total);
        part.longest = std::max(part.longest, std::sqrt(squares));
        part.farthest = std::max(part.farthest, std::sqrt(lost));
    }
}

// A normalised row as bytes around 128; returns the size of a unit and the length of what is lost.
float quantise(const float* row, long depth, uint8_t* out, float& lost) {
    __m512 most = _mm512_set1_ps(FLT_MIN);
    for (long c = 0; c < depth; c += 16)
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(row + c)));
    const float step = _mm512_reduce_max_ps(most) / 127;
    const __m512 by = _mm512_set1_ps(1 / step), unit = _mm512_set1_ps(step);
    __m512 squares = _mm512_setzero_ps();
    for (long c = 0; c < depth; c += 16) {
        const __m512 v = _mm512_loadu_ps(row + c);
        const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, by));
        const __m512 rest = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(q), unit, v);
        squares = _mm512_fmadd_ps(rest, rest, squares);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + c),
                         _mm512_cvtepi32_epi8(_mm512_add_epi32(q, _mm512_set1_epi32(128))));
    }
    lost = std::sqrt(_mm512_reduce_add_ps(squares));
    return step;
}

// The product of `multiply_rows`, of bytes; rows DEPTH apart.
void multiply_bytes(const uint8_t* left, const int8_t* panel, long depth, __m512i (&sums)[ROWS][2]) {
    __m512i s[ROWS][2];
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) s[r][0] = s[r][1] = _mm512_setzero_si512();
    for (long k = 0; k < depth; k += 4, panel += 4 * COLUMNS) {
        const __m512i b0 = _mm512_loadu_si512(panel), b1 = _mm512_loadu_si512(panel + 64);
#pragma GCC unroll 14
        for (int r = 0; r < ROWS; r++) {
            int32_t four;
            std::memcpy(&four, left + r * DEPTH + k, 4);
            const __m512i a = _mm512_set1_epi32(four);
            s[r][0] = _mm512_dpbusd_epi32(s[r][0], a, b0);
            s[r][1] = _mm512_dpbusd_epi32(s[r][1], a, b1);
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < ROWS; r++) sums[r][0] = s[r][0], sums[r][1] = s[r][1];
}

// Scores of up to TILE pixels from bytes, added up; the most that each may be off likewise.
void roughly(const Layer& layer, long clusters, long first, long count, float* rows,
             uint8_t* bytes, float* scores, float* off) {
    const Part& part = layer.part;
    float steps[TILE], lost;
    for (long p = 0; p < count; p++) {
        const float factor = part.weight / normalised(layer, first + p, rows);
        steps[p] = factor * quantise(rows, part.channels, bytes + p * DEPTH, lost);
        // |x c - x' c'| <= |x - x'| |c| + |x'| |c - c'|, and |x'| <= |x| + |x - x'|
        off[p] += factor * lost * (part.longest + part.farthest) + part.weight * part.farthest;
    }
    for (long n = 0; n < clusters; n += COLUMNS) {
        const __m512 step[2] = {_mm512_loadu_ps(&part.steps[n]),
                                _mm512_loadu_ps(&part.steps[n + 16])};
        const __m512 offset[2] = {_mm512_loadu_ps(&part.offsets[n]),
                                  _mm512_loadu_ps(&part.offsets[n + 16])};
        for (long p = 0; p < count; p += ROWS) {
            __m512i s[ROWS][2];
            multiply_bytes(bytes + p * DEPTH, &part.bytes[n * part.channels], part.channels, s);
            for (long r = 0; r < std::min<long>(ROWS, count - p); r++)
                for (int half = 0; half < 2; half++) {
                    float* out = scores + (p + r) * clusters + n + 16 * half;
                    const __m512 product = _mm512_fmsub_ps(_mm512_cvtepi32_ps(s[r][half]),
                                                           step[half], offset[half]);
                    _mm512_storeu_ps(out, _mm512_fmadd_ps(_mm512_set1_ps(steps[p + r]), product,
                                                          _mm512_loadu_ps(out)));
                }
        }
    }
}

#endif

void label(const Task& task, long first, long last) {
    const long clusters = task.by.clusters;
    std::vector<float> rows(TILE * STRIDE), scores(TILE * clusters);
    std::vector<long> waiting;
    const auto settle = [&] {
        exactly(task, waiting, rows, scores);
        waiting.clear();
    };
#if RIS_BYTES
    std::vector<uint8_t> bytes(TILE * DEPTH);
    std::vector<float> rough(TILE * clusters);
    for (long p = first; p < last; p += TILE) {
        const long count = std::min(TILE, last - p);
        float off[TILE] = {}, ahead;
        for (long i = 0; i < count; i++)
            std::copy(task.by.start.begin(), task.by.start.end(), &rough[i * clusters]);
        for (const Layer& layer : task.layers)
            roughly(layer, clusters, p, count, rows.data(), bytes.data(), rough.data(), off);
        for (long i = 0; i < count; i++) {
            task.labels[p + i] =
                best_class(&rough[i * clusters], task.by.classes.data(), clusters, ahead);
            if (!(ahead > 2 * off[i])) waiting.push_back(p + i);
            if (static_cast<long>(waiting.size()) == TILE) settle();
        }
    }
#else
    for (long p = first; p < last; p++) {
        waiting.push_back(p);
        if (static_cast<long>(waiting.size()) == TILE) settle();
    }
#endif
    if (!waiting.empty()) settle();
}

std::unique_ptr<Segmenter> prepare(long layers, const long* channels, const float* weights,
                                   long clusters, const float* centres, const int64_t* classes) {
    auto made = std::make_unique<Segmenter>();
    made->clusters = (clusters + COLUMNS - 1) / COLUMNS * COLUMNS;
    for (long n = 0; n < made->clusters; n++) {
        made->classes.push_back(static_cast<float>(n < clusters ? classes[n] : -1));
        made->start.push_back(n < clusters ? 0 : -FLT_MAX);
    }
    long width = 0, before = 0;
    for (long i = 0; i < layers; i++) width += channels[i];
    for (long i = 0; i < layers; before += channels[i++]) {
        Part part;
        part.channels = channels[i], part.weight = weights[i];
        part.centres.resize(made->clusters * part.channels);
        pack(centres + before, width, part.channels, clusters, part.centres.data());
#if RIS_BYTES
        to_bytes(part, made->clusters);
#endif
        made->parts.push_back(part);
    }
    return made;
}

}  // namespace

extern "C" {

// Centres (clusters, sum of channels), which are finite, and their classes, ready for `ris_labels`;
// null where memory ran out.
void* ris_segmenter(long layers, const long* channels, const float* weights, long clusters,
                    const float* centres, const int64_t* classes) {
    std::unique_ptr<Segmenter> made;
    const int failed = guarded([&] {
        made = prepare(layers, channels, weights, clusters, centres, classes);
        return true;
    });
    return failed ? nullptr : made.release();
}

void ris_segmenter_free(void* segmenter) { delete static_cast<Segmenter*>(segmenter); }

// Classes (pixels) of one image by the activations (pixels, channels) of the layers. Returns 0, or
// 1 where memory ran out.
int ris_labels(const void* segmenter, const float* const* x, long pixels, int64_t* labels,
               long threads) {
    return guarded([&] {
        const Segmenter& by = *static_cast<const Segmenter*>(segmenter);
        Task task{by, {}, labels};
        for (size_t i = 0; i < by.parts.size(); i++) {
            task.layers.push_back({by.parts[i], x[i], {}, {}});
            normalise(task.layers.back(), pixels, threads);
        }
        divide((pixels + TILE - 1) / TILE, threads, [&](long from, long to) {
            label(task, from * TILE, std::min(pixels, to * TILE));
        });
        return true;
    });
}

}  // extern "C"
