// Arithmetic of the class energies (Eq. 1) that the kernels for processor and GPU share.
#pragma once

#if defined(__CUDACC__)
#define RIS_BOTH __host__ __device__
#else
#define RIS_BOTH
#endif

namespace ris {

// Two neighbouring places of a row of `from` numbers and the share of the second, for place
// `i` of the same row drawn out or shrunk to `to` numbers: bilinear, corners not aligned.
struct Between {
    long first, second;
    float share;
};

RIS_BOTH inline Between between(long i, long from, long to) {
    const float place = (static_cast<float>(i) + 0.5f) * static_cast<float>(from) /
                            static_cast<float>(to) - 0.5f;
    const float at = place > 0 ? place : 0;
    const long first = static_cast<long>(at) < from - 1 ? static_cast<long>(at) : from - 1;
    const long second = first + 1 < from ? first + 1 : first;
    return {first, second, at - static_cast<float>(first)};
}

// A channels-last image of activations, its class masks, and how many pixels are one chunk of sums.
struct Picture {
    long height, width, channels, classes, mask_height, mask_width, chunk;
    RIS_BOTH long pixels() const { return height * width; }
    RIS_BOTH long chunks() const { return (pixels() + chunk - 1) / chunk; }
};

// Weight of one class at pixel (y, x): `mask` has rows of w.
RIS_BOTH inline float weight_at(const float* mask, long w, Between y, Between x) {
    const float* top = mask + y.first * w;
    const float* bottom = mask + y.second * w;
    const float high = top[x.first] + x.share * (top[x.second] - top[x.first]);
    const float low = bottom[x.first] + x.share * (bottom[x.second] - bottom[x.first]);
    return high + y.share * (low - high);
}

// One thread of a GPU: the sums of one channel over one chunk of pixels, for every class. Results
// are (chunks, classes) areas and (chunks, classes, channels) firsts and seconds, see `finish`.
RIS_BOTH inline void sum_chunk(const Picture& s, const float* x, const float* masks, float shift,
                               long channel, long chunk, float* areas, float* firsts,
                               float* seconds) {
    const long first = chunk * s.chunk;
    const long last = first + s.chunk < s.pixels() ? first + s.chunk : s.pixels();
    for (long k = 0; k < s.classes; k++) {
        const float* mask = masks + k * s.mask_height * s.mask_width;
        float area = 0, one = 0, two = 0;
        for (long p = first; p < last; p++) {
            const float weight =
                weight_at(mask, s.mask_width, between(p / s.width, s.mask_height, s.height),
                          between(p % s.width, s.mask_width, s.width));
            if (weight == 0) continue;  // the same in all threads of a warp
            const float a = x[p * s.channels + channel] - shift;
            area += weight;
            one += weight * a;
            two += weight * a * a;
        }
        const long at = chunk * s.classes + k;
        if (channel == 0) areas[at] = area;
        firsts[at * s.channels + channel] = one;
        seconds[at * s.channels + channel] = two;
    }
}

// One number of all chunks together; `step` numbers lie between those of two chunks.
RIS_BOTH inline double sum_chunks(const float* parts, long chunks, long step) {
    double total = 0;
    for (long i = 0; i < chunks; i++) total += parts[i * step];
    return total;
}

// Energy sum U (A - mean)^2 from sums over the pixels of a class, A' being A minus a shift: areas
// sum U, firsts sum U A', seconds sum U A'^2; `mean` is that of A'.
RIS_BOTH inline double energy(double area, double first, double second, double mean) {
    return second - 2 * mean * first + mean * mean * area;
}

// A class's share of a channel's energy; a channel that is constant spreads evenly.
RIS_BOTH inline float share(double own, double total, double area, double pixels, double epsilon) {
    return static_cast<float>((own + epsilon * area) / (total + epsilon * pixels));
}

// One thread of a GPU: scores (classes, channels) of one channel from its areas, firsts and seconds,
// which lie `all` numbers apart.
RIS_BOTH inline void finish_channel(const Picture& s, const double* sums, long all, bool normalise,
                                    double epsilon, float* scores) {
    const double *areas = sums, *firsts = sums + all, *seconds = sums + 2 * all;
    const double pixels = static_cast<double>(s.pixels());
    double mean = 0, total = 0;
    for (long k = 0; k < s.classes; k++) mean += firsts[k * s.channels] / pixels;
    for (long k = 0, at = 0; k < s.classes; k++, at += s.channels)
        total += energy(areas[at], firsts[at], seconds[at], mean);
    for (long k = 0, at = 0; k < s.classes; k++, at += s.channels)
        scores[at] = normalise ? share(energy(areas[at], firsts[at], seconds[at], mean), total,
                                       areas[at], pixels, epsilon)
                               : static_cast<float>(seconds[at] / pixels);
}

}  // namespace ris
