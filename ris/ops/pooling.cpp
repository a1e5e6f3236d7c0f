// Class energies of an activation (Eq. 1) in one pass over it, see ris/ops/pooling.py.
#include "pooling.h"
#include "vectors.h"

using namespace ris;

namespace {

constexpr long CHUNK = 512;   // pixels between two roundings up into doubles, or one row
constexpr long SAMPLES = 64;  // pixels whose mean is the shift of a channel

struct Shape {
    long height, width, channels, classes, mask_height, mask_width;
    long pixels() const { return height * width; }
    long rows() const { return std::max(1L, CHUNK / width); }  // of a chunk
};

// Weights (classes, pixels) of the rows first..last; `present` tells which classes have any.
void weigh(const Shape& s, const float* masks, long first, long last, float* weights,
           std::vector<char>& present) {
    std::vector<int> left(s.width), right(s.width);
    std::vector<float> share(s.width), row(s.mask_width);
    for (long x = 0; x < s.width; x++) {
        const Between across = between(x, s.mask_width, s.width);
        left[x] = static_cast<int>(across.first), right[x] = static_cast<int>(across.second);
        share[x] = across.share;
    }
    present.assign(s.classes, 0);
    for (long k = 0; k < s.classes; k++, masks += s.mask_height * s.mask_width)
        for (long y = first; y < last; y++, weights += s.width) {
            const Between down = between(y, s.mask_height, s.height);
            const float* top = masks + down.first * s.mask_width;
            const float* bottom = masks + down.second * s.mask_width;
            bool any = false;
            for (long x = 0; x < s.mask_width; x++) {
                row[x] = top[x] + down.share * (bottom[x] - top[x]);
                any |= row[x] != 0;
            }
            if (!any) {
                std::fill(weights, weights + s.width, 0.0f);
                continue;
            }
            present[k] = 1;
            for (long x = 0; x < s.width; x++)
                weights[x] = row[left[x]] + share[x] * (row[right[x]] - row[left[x]]);
        }
}

// Pixels of a chunk that belong to a class, and how much.
struct Members {
    std::vector<int> pixel;
    std::vector<float> weight;
    long count = 0;
    double area = 0;
    explicit Members(long most) : pixel(most), weight(most) {}
    void find(const float* weights, long pixels) {
        count = 0, area = 0;
        for (long p = 0; p < pixels; p++) {
            pixel[count] = static_cast<int>(p), weight[count] = weights[p];
            count += weights[p] != 0;
        }
        for (long m = 0; m < count; m++) area += weight[m];
    }
};

// Adds the sums over the members for N vectors of channels from `c` on.
template <int N>
void add_members(const float* x, long channels, const Members& members, const float* shift,
                 long c, double* firsts, double* seconds) {
    Vector one[N] = {}, two[N] = {}, centre[N];
    for (int i = 0; i < N; i++) centre[i] = load(shift + c + i * WIDTH);
    for (long m = 0; m < members.count; m++) {
        const float* row = x + members.pixel[m] * channels + c;
        const Vector weight = all(members.weight[m]);
        for (int i = 0; i < N; i++) {
            const Vector a = load(row + i * WIDTH) - centre[i], weighted = weight * a;
            one[i] += weighted;
            two[i] += weighted * a;
        }
    }
    for (int i = 0; i < N; i++) {
        add(firsts + c + i * WIDTH, one[i]);
        add(seconds + c + i * WIDTH, two[i]);
    }
}

void add_members(const float* x, long channels, const Members& members, const float* shift,
                 double* firsts, double* seconds) {
    long c = 0;
    for (; c + 4 * WIDTH <= channels; c += 4 * WIDTH)
        add_members<4>(x, channels, members, shift, c, firsts, seconds);
    for (; c + 2 * WIDTH <= channels; c += 2 * WIDTH)
        add_members<2>(x, channels, members, shift, c, firsts, seconds);
    for (; c + WIDTH <= channels; c += WIDTH)
        add_members<1>(x, channels, members, shift, c, firsts, seconds);
    for (; c < channels; c++)
        for (long m = 0; m < members.count; m++) {
            const float a = x[members.pixel[m] * channels + c] - shift[c];
            firsts[c] += static_cast<double>(members.weight[m] * a);
            seconds[c] += static_cast<double>(members.weight[m] * a * a);
        }
}

struct Sums {
    std::vector<double> areas, firsts, seconds;
    explicit Sums(const Shape& s)
        : areas(s.classes), firsts(s.classes * s.channels), seconds(s.classes * s.channels) {}
    void add(const Sums& other) {
        for (size_t i = 0; i < areas.size(); i++) areas[i] += other.areas[i];
        for (size_t i = 0; i < firsts.size(); i++) {
            firsts[i] += other.firsts[i];
            seconds[i] += other.seconds[i];
        }
    }
};

void pool_rows(const Shape& s, const float* x, const float* masks, const float* shift,
               long first, long last, Sums& sums) {
    std::vector<float> weights(s.classes * s.rows() * s.width);
    std::vector<char> present;
    Members members(s.rows() * s.width);
    for (long y = first; y < last; y += s.rows()) {
        const long end = std::min(last, y + s.rows()), pixels = (end - y) * s.width;
        weigh(s, masks, y, end, weights.data(), present);
        for (long k = 0; k < s.classes; k++) {
            if (!present[k]) continue;
            members.find(&weights[k * pixels], pixels);
            sums.areas[k] += members.area;
            add_members(x + y * s.width * s.channels, s.channels, members, shift,
                        &sums.firsts[k * s.channels], &sums.seconds[k * s.channels]);
        }
    }
}

// Scores (K, C) from sums over all pixels.
void finish(const Shape& s, const double* areas, const double* firsts, const double* seconds,
            bool normalise, double epsilon, float* scores) {
    const double pixels = static_cast<double>(s.pixels());
    std::vector<double> mean(s.channels), total(s.channels);
    for (long k = 0, at = 0; k < s.classes; k++)
        for (long c = 0; c < s.channels; c++) mean[c] += firsts[at++] / pixels;
    for (long k = 0, at = 0; k < s.classes; k++)
        for (long c = 0; c < s.channels; c++, at++)
            total[c] += energy(areas[k], firsts[at], seconds[at], mean[c]);
    for (long k = 0, at = 0; k < s.classes; k++)
        for (long c = 0; c < s.channels; c++, at++)
            scores[at] = normalise ? share(energy(areas[k], firsts[at], seconds[at], mean[c]),
                                           total[c], areas[k], pixels, epsilon)
                                   : static_cast<float>(seconds[at] / pixels);
}

// Mean over some pixels: near enough to the mean that squares lose no digits.
std::vector<float> shifts(const Shape& s, const float* x, bool normalise) {
    std::vector<float> shift(s.channels, 0.0f);
    if (!normalise) return shift;
    const long count = std::min(SAMPLES, s.pixels());
    for (long i = 0; i < count; i++) {
        const float* row = x + (2 * i + 1) * s.pixels() / (2 * count) * s.channels;
        for (long c = 0; c < s.channels; c++) shift[c] += row[c];
    }
    for (float& value : shift) value /= static_cast<float>(count);
    return shift;
}

void pool_last(const Shape& s, const float* x, const float* masks, bool normalise,
               float epsilon, float* scores, long threads) {
    const std::vector<float> shift = shifts(s, x, normalise);
    const long chunks = (s.height + s.rows() - 1) / s.rows(), count = std::min(PARTS, chunks);
    std::vector<Sums> parts(count, Sums(s));
    divide(count, threads, [&](long from, long to) {
        for (long i = from; i < to; i++)
            pool_rows(s, x, masks, shift.data(), chunks * i / count * s.rows(),
                      std::min(s.height, chunks * (i + 1) / count * s.rows()), parts[i]);
    });
    for (long i = 1; i < count; i++) parts[0].add(parts[i]);
    finish(s, parts[0].areas.data(), parts[0].firsts.data(), parts[0].seconds.data(), normalise,
           epsilon, scores);
}

// Sums of `weights` times squares for four channels and up to four classes.
void products(const float* squares, long pixels, const float* const (&weights)[4],
              double (&sums)[4][4]) {
    Vector s[4][4] = {};
    long p = 0;
    for (; p + WIDTH <= pixels; p += WIDTH)
        for (int k = 0; k < 4; k++) {
            const Vector w = load(weights[k] + p);
            for (int c = 0; c < 4; c++) s[c][k] += w * load(squares + c * pixels + p);
        }
    for (int c = 0; c < 4; c++)
        for (int k = 0; k < 4; k++) {
            sums[c][k] = sum(s[c][k]);
            for (long i = p; i < pixels; i++) sums[c][k] += weights[k][i] * squares[c * pixels + i];
        }
}

double mean_of(const float* plane, long pixels) {
    double total = 0;
    for (long first = 0; first < pixels; first += CHUNK) {
        const long last = std::min(pixels, first + CHUNK);
        Vector s = {};
        long p = first;
        for (; p + WIDTH <= last; p += WIDTH) s += load(plane + p);
        total += sum(s);
        for (; p < last; p++) total += plane[p];
    }
    return total / static_cast<double>(pixels);
}

void pool_first(const Shape& s, const float* x, const float* masks, bool normalise,
                float epsilon, float* scores, long threads) {
    const long groups = (s.channels + 3) / 4, pixels = s.pixels(), most = s.rows() * s.width;
    std::vector<float> shift(s.channels, 0.0f);
    std::vector<double> areas(s.classes), energies(s.classes * s.channels);
    divide(groups, threads, [&](long from, long to) {
        if (normalise)
            for (long c = 4 * from; c < std::min(s.channels, 4 * to); c++)
                shift[c] = static_cast<float>(mean_of(x + c * pixels, pixels));
        std::vector<float> weights(s.classes * most), squares(4 * most);
        std::vector<long> present;
        std::vector<char> any;
        for (long y = 0; y < s.height; y += s.rows()) {
            const long count = (std::min(s.height, y + s.rows()) - y) * s.width;
            weigh(s, masks, y, y + count / s.width, weights.data(), any);
            present.clear();
            for (long k = 0; k < s.classes; k++) {
                if (!any[k]) continue;
                double area = 0;
                for (long p = 0; p < count; p++) area += weights[k * count + p];
                present.push_back(k);
                if (from == 0) areas[k] += area;
            }
            for (long g = from; g < to; g++) {
                const long channels = std::min(4L, s.channels - 4 * g);
                for (long c = 0; c < channels; c++) {
                    const float* plane = x + (4 * g + c) * pixels + y * s.width;
                    const float centre = shift[4 * g + c];
                    for (long p = 0; p < count; p++) {
                        const float a = plane[p] - centre;
                        squares[c * count + p] = a * a;
                    }
                }
                for (size_t first = 0; first < present.size(); first += 4) {
                    const size_t classes = std::min<size_t>(4, present.size() - first);
                    const float* rows[4];
                    for (size_t k = 0; k < 4; k++)
                        rows[k] = &weights[present[first + std::min(k, classes - 1)] * count];
                    double found[4][4];
                    products(squares.data(), count, rows, found);
                    for (long c = 0; c < channels; c++)
                        for (size_t k = 0; k < classes; k++)
                            energies[present[first + k] * s.channels + 4 * g + c] += found[c][k];
                }
            }
        }
    });
    const std::vector<double> none(s.classes * s.channels);  // the shift is the mean
    finish(s, areas.data(), none.data(), energies.data(), normalise, epsilon, scores);
}

}  // namespace

extern "C" {

// One image: x (H, W, C) if channels_last, else (C, H, W); masks (K, h, w); scores (K, C). None of
// the sizes is 0. Returns 0, or 1 where memory ran out.
int ris_class_energy(const float* x, long channels_last, long height, long width,
                     long channels, const float* masks, long classes, long mask_height,
                     long mask_width, long normalise, float epsilon, float* scores,
                     long threads) {
    const Shape s{height, width, channels, classes, mask_height, mask_width};
    return guarded([&] {
        (channels_last ? pool_last : pool_first)(s, x, masks, normalise, epsilon, scores, threads);
        return true;
    });
}

}  // extern "C"
