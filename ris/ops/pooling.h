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

// Weight of one class at pixel (y, x): `mask` has rows of w.
RIS_BOTH inline float weight_at(const float* mask, long w, Between y, Between x) {
    const float* top = mask + y.first * w;
    const float* bottom = mask + y.second * w;
    const float high = top[x.first] + x.share * (top[x.second] - top[x.first]);
    const float low = bottom[x.first] + x.share * (bottom[x.second] - bottom[x.first]);
    return high + y.share * (low - high);
}

// Energies of one channel from sums over the pixels of a class, A' being A minus a shift:
// areas sum U, firsts sum U A', seconds sum U A'^2; K of each, `step` apart; (K) scores.
RIS_BOTH inline void finish(const double* areas, const double* firsts, const double* seconds,
                            long classes, long step, bool normalise, double epsilon,
                            double pixels, float* scores, long scores_step) {
    double first = 0, total = 0;
    for (long k = 0; k < classes; k++) first += firsts[k * step];
    const double mean = first / pixels;
    for (int round = 0; round < 2; round++)
        for (long k = 0; k < classes; k++) {
            const double one = firsts[k * step], two = seconds[k * step];
            if (!normalise) {
                scores[k * scores_step] = static_cast<float>(two / pixels);
                continue;
            }
            const double energy = two - 2 * mean * one + mean * mean * areas[k];
            if (round == 0)
                total += energy;
            else
                scores[k * scores_step] = static_cast<float>(
                    (energy + epsilon * areas[k]) / (total + epsilon * pixels));
        }
}

}  // namespace ris
