// Vectors of the processor's width, and the product of matrices that the kernels share.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "parts.h"

namespace ris {

#if defined(__AVX512F__)
constexpr int WIDTH = 16, ROWS = 14;  // 28 of 32 registers hold sums
#elif defined(__AVX__)
constexpr int WIDTH = 8, ROWS = 6;  // 12 of 16
#else
constexpr int WIDTH = 4, ROWS = 4;
#endif
constexpr int COLUMNS = 2 * WIDTH;  // of a panel of a packed matrix
constexpr int DEPTH = 512;          // longest row of the left matrix
constexpr long PARTS = 4;           // sums over pixels are of so many, whatever the threads
constexpr int STRIDE = DEPTH + 16;  // floats between its rows, so that they share no cache sets

typedef float Vector __attribute__((vector_size(4 * WIDTH)));
typedef double Wide __attribute__((vector_size(8 * WIDTH), aligned(8)));
typedef float Loose __attribute__((vector_size(4 * WIDTH), aligned(4)));  // at any float

inline Vector load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Loose*>(p) = v; }
inline Vector all(float x) { return x - Vector{}; }  // x + 0 would be an addition
inline void add(double* to, Vector v) {
    *reinterpret_cast<Wide*>(to) += __builtin_convertvector(v, Wide);
}
inline float sum(Vector v) {
    float total = 0;
    for (int i = 0; i < WIDTH; i++) total += v[i];
    return total;
}

// R rows of `left` (STRIDE apart) times a panel (depth x COLUMNS) of a packed matrix.
template <int R>
inline void multiply_rows(const float* left, const float* panel, long depth,
                          Vector (&sums)[ROWS][2]) {
    Vector s[R][2] = {};
    for (long k = 0; k < depth; k++, panel += COLUMNS) {
        const Vector b0 = load(panel), b1 = load(panel + WIDTH);
#pragma GCC unroll 14
        for (int r = 0; r < R; r++) {
            const Vector a = all(left[r * STRIDE + k]);
            s[r][0] += a * b0;
            s[r][1] += a * b1;
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < R; r++) sums[r][0] = s[r][0], sums[r][1] = s[r][1];
}

// The same for `rows` rows at least, at most ROWS; what is in the other sums means nothing.
inline void multiply(const float* left, long rows, const float* panel, long depth,
                     Vector (&sums)[ROWS][2]) {
    if (rows <= 4)
        multiply_rows<4>(left, panel, depth, sums);
    else if (rows <= 8 && ROWS > 8)
        multiply_rows<std::min(8, ROWS)>(left, panel, depth, sums);
    else
        multiply_rows<ROWS>(left, panel, depth, sums);
}

// (outputs, inputs) with rows `stride` apart -> panels of COLUMNS outputs, filled up with zeros.
inline void pack(const float* matrix, long stride, long inputs, long outputs, float* packed) {
    for (long first = 0; first < outputs; first += COLUMNS)
        for (long k = 0; k < inputs; k++)
            for (long n = first; n < first + COLUMNS; n++)
                *packed++ = n < outputs ? matrix[n * stride + k] : 0.0f;
}

}  // namespace ris
