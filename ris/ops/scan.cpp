// Scans of a collection: inner products of one query with rows, and the best rows of either end.
// Each function has a numpy reference in scan.py or sums.py, which also document the arguments. All
// return 0, 1 where memory ran out, or 2 where a row is asked for that cannot be.
//
// Rows come from files, so nothing in them is believed: a row's number and where it ends are
// compared with the sizes of the arrays, and queries of sparse rows have a place for every 16-bit
// channel there is. Whatever the files hold, all reads are inside the arrays.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "parts.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace {

constexpr std::int64_t BLOCK = 512;  // rows scored between two looks at the limits
constexpr int LANES = 32;            // partial sums, so that a sum need not wait for the last one

// A finite float16 of 16 bits as float32.
float widen(std::uint16_t half) {
#if defined(__F16C__)
  return _cvtsh_ss(half);
#else
  const std::uint32_t bits = (static_cast<std::uint32_t>(half & 0x7fff) << 13) |
                             (static_cast<std::uint32_t>(half & 0x8000) << 16);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value * 0x1p112f;  // from float16's exponent bias to float32's
#endif
}

// LANES of them. The conversion instructions are named because not every compiler finds them.
void widen_lanes(const std::uint16_t* half, float* out) {
#if defined(__F16C__)
  for (int j = 0; j < LANES; j += 8)
    _mm256_storeu_ps(out + j, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + j))));
#else
  for (int j = 0; j < LANES; ++j) out[j] = widen(half[j]);
#endif
}

// A number that orders rows: the higher the score, and among equals the lower the row, the higher.
std::uint64_t key_of(std::int32_t score, std::int64_t row) {
  const auto high = static_cast<std::uint32_t>(score) ^ 0x80000000u;
  return (static_cast<std::uint64_t>(high) << 32) | (0xffffffffu - static_cast<std::uint32_t>(row));
}

std::int64_t row_of(std::uint64_t key) {
  return 0xffffffffu - static_cast<std::uint32_t>(key);
}

// The `keep` highest keys of those shown. Rows come in ascending order, so a score that only
// equals the limit is too late.
class Best {
 public:
  explicit Best(std::int64_t keep) : keep_(keep) { keys_.reserve(2 * keep_ + BLOCK); }

  void show(std::int32_t score, std::int64_t row) {
    if (open_ || score > limit_) keys_.push_back(key_of(score, row));
  }

  void settle() {
    if (static_cast<std::int64_t>(keys_.size()) < 2 * keep_) return;
    cut();
    open_ = false;
    limit_ = static_cast<std::int32_t>(static_cast<std::uint32_t>(keys_[keep_ - 1] >> 32) ^ 0x80000000u);
  }

  void take(const Best& other) { keys_.insert(keys_.end(), other.keys_.begin(), other.keys_.end()); }

  std::int64_t write(std::int64_t* rows) {
    if (static_cast<std::int64_t>(keys_.size()) > keep_) cut();
    std::sort(keys_.begin(), keys_.end(), std::greater<>());
    std::transform(keys_.begin(), keys_.end(), rows, row_of);
    return static_cast<std::int64_t>(keys_.size());
  }

 private:
  void cut() {
    std::nth_element(keys_.begin(), keys_.begin() + (keep_ - 1), keys_.end(), std::greater<>());
    keys_.resize(keep_);
  }

  std::int64_t keep_;
  std::vector<std::uint64_t> keys_;
  bool open_ = true;
  std::int32_t limit_ = 0;
};

// Shows the scores of all allowed rows, block by block, to both ends. score(rows, count, high, low)
// fills in numbers that order `count` rows at the high and at the low end.
template <class Score>
void both_ends(std::int64_t rows, const std::uint8_t* allowed, std::int64_t keep, int threads,
               Score score, std::int64_t* near, std::int64_t* far, std::int64_t* found) {
  std::vector<Best> high(threads, Best(keep)), low(threads, Best(keep));
  ris::divide_numbered(rows, threads, [&](std::int64_t begin, std::int64_t end, int t) {
    std::int64_t list[BLOCK];
    std::int32_t up[BLOCK], down[BLOCK];
    for (std::int64_t start = begin; start < end; start += BLOCK) {
      const std::int64_t stop = std::min(start + BLOCK, end);
      std::int64_t count = 0;
      for (std::int64_t row = start; row < stop; ++row) {
        list[count] = row;
        count += allowed == nullptr || allowed[row];
      }
      score(list, count, up, down);
      for (std::int64_t i = 0; i < count; ++i) high[t].show(up[i], list[i]);
      for (std::int64_t i = 0; i < count; ++i) low[t].show(down[i], list[i]);
      high[t].settle();
      low[t].settle();
    }
  });
  for (int t = 1; t < threads; ++t) {
    high[0].take(high[t]);
    low[0].take(low[t]);
  }
  found[0] = high[0].write(near);
  found[1] = low[0].write(far);
}

// A float as an integer of the same order; both zeros are one.
std::int32_t ordered(float value) {
  value += 0.0f;
  std::int32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

std::int32_t code_product(const std::int8_t* code, const std::int16_t* query, std::int64_t width) {
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < width; ++i) sum += static_cast<std::int32_t>(code[i]) * query[i];
  return sum;
}

double half_product(const std::uint16_t* half, const double* query, std::int64_t dims) {
  double lanes[LANES] = {};
  std::int64_t i = 0;
  for (; i + LANES <= dims; i += LANES) {
    float wide[LANES];
    widen_lanes(half + i, wide);
    for (int j = 0; j < LANES; ++j) lanes[j] += static_cast<double>(wide[j]) * query[i + j];
  }
  for (int j = 0; i < dims; ++i, ++j) lanes[j] += static_cast<double>(widen(half[i])) * query[i];
  for (int step = LANES / 2; step; step /= 2)
    for (int j = 0; j < step; ++j) lanes[j] += lanes[j + step];
  return lanes[0];
}

double sparse_product(const std::uint16_t* channels, const std::uint16_t* values, std::int64_t count,
                      const double* query) {
  double lanes[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4)
    for (int j = 0; j < 4; ++j)
      lanes[j] += static_cast<double>(widen(values[i + j])) * query[channels[i + j]];
  for (int j = 0; i < count; ++i, ++j) lanes[j] += static_cast<double>(widen(values[i])) * query[channels[i]];
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

float cosine(double product) { return static_cast<float>(std::min(1.0, std::max(-1.0, product))); }

// Numbers of rows, or all of them in order where `list` is null.
struct Rows {
  const std::int64_t* list;
  std::int64_t rows;
  bool get(std::int64_t i, std::int64_t& row) const {
    row = list ? list[i] : i;
    return row >= 0 && row < rows;
  }
};

// The values of a sparse row: none has more than `most`, and none is empty.
struct Stretch {
  std::int64_t first, count;
};

bool stretch(const std::int64_t* ends, std::int64_t values, std::int64_t row, std::int64_t most,
             Stretch& found) {
  const std::int64_t first = row ? ends[row - 1] : 0, last = ends[row];
  if (first < 0 || last <= first || last > values) return false;
  found = {first, last - first};
  return found.count <= most;
}

// The sum of `count` words times their keys.
std::uint32_t keyed(const std::uint16_t* words, const std::uint32_t* keys, std::int64_t count) {
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += words[i] * keys[i];
  return sum;
}

// Calls each(i, row) for the rows of a list on several threads; false if one cannot be.
template <class Each>
bool for_rows(const Rows& rows, std::int64_t count, int threads, Each each) {
  std::atomic<bool> good{true};
  ris::divide_numbered(count, threads, [&](std::int64_t begin, std::int64_t end, int) {
    std::int64_t row;
    for (std::int64_t i = begin; i < end; ++i)
      if (!rows.get(i, row) || !each(i, row)) good = false;
  });
  return good;
}

}  // namespace

extern "C" {

int ris_code_ends(const std::int8_t* codes, std::int64_t rows, std::int64_t width,
                  const std::int16_t* query, const std::uint8_t* allowed, std::int64_t keep,
                  int threads, std::int64_t* near, std::int64_t* far, std::int64_t* found) {
  return ris::guarded([&] {
    const auto score = [=](const std::int64_t* list, std::int64_t count, std::int32_t* up, std::int32_t* down) {
      for (std::int64_t i = 0; i < count; ++i) {
        up[i] = code_product(codes + list[i] * width, query, width);
        down[i] = -up[i];
      }
    };
    both_ends(rows, allowed, keep, threads, score, near, far, found);
    return true;
  });
}

int ris_score_ends(const float* scores, std::int64_t rows, const std::uint8_t* allowed,
                   std::int64_t keep, int threads, std::int64_t* near, std::int64_t* far,
                   std::int64_t* found) {
  return ris::guarded([&] {
    const auto score = [=](const std::int64_t* list, std::int64_t count, std::int32_t* up, std::int32_t* down) {
      for (std::int64_t i = 0; i < count; ++i) {
        up[i] = ordered(scores[list[i]]);
        down[i] = ordered(-scores[list[i]]);
      }
    };
    both_ends(rows, allowed, keep, threads, score, near, far, found);
    return true;
  });
}

int ris_half_products(const std::uint16_t* half, std::int64_t rows, std::int64_t dims,
                      const double* query, const std::int64_t* list, std::int64_t count,
                      int threads, float* out) {
  return ris::guarded([&] {
    return for_rows({list, rows}, count, threads, [=](std::int64_t i, std::int64_t row) {
      out[i] = cosine(half_product(half + row * dims, query, dims));
      return true;
    });
  });
}

// `query` has 65,536 places, whatever the number of dimensions.
int ris_sparse_products(const std::int64_t* ends, std::int64_t rows, const std::uint16_t* channels,
                        const std::uint16_t* values, std::int64_t stored, const double* query,
                        const std::int64_t* list, std::int64_t count, int threads, float* out) {
  return ris::guarded([&] {
    return for_rows({list, rows}, count, threads, [=](std::int64_t i, std::int64_t row) {
      Stretch own;
      if (!stretch(ends, stored, row, stored, own)) return false;
      out[i] = cosine(sparse_product(channels + own.first, values + own.first, own.count, query));
      return true;
    });
  });
}

// Sums of rows of `width` words; `keys` has as many.
int ris_row_sums(const std::uint16_t* words, std::int64_t rows, std::int64_t width,
                 const std::uint32_t* keys, const std::int64_t* list, std::int64_t count,
                 int threads, std::int64_t* out) {
  return ris::guarded([&] {
    return for_rows({list, rows}, count, threads, [=](std::int64_t i, std::int64_t row) {
      out[i] = keyed(words + row * width, keys, width);
      return true;
    });
  });
}

// Sums of sparse rows, -1 for one whose end cannot be; `keys` has `most` for values, then as many
// for channels.
int ris_sparse_sums(const std::int64_t* ends, std::int64_t rows, const std::uint16_t* channels,
                    const std::uint16_t* values, std::int64_t stored, const std::uint32_t* keys,
                    std::int64_t most, const std::int64_t* list, std::int64_t count, int threads,
                    std::int64_t* out) {
  return ris::guarded([&] {
    return for_rows({list, rows}, count, threads, [=](std::int64_t i, std::int64_t row) {
      Stretch own;
      out[i] = -1;
      if (stretch(ends, stored, row, most, own))
        out[i] = keyed(values + own.first, keys, own.count) +
                 keyed(channels + own.first, keys + most, own.count);
      return true;
    });
  });
}
}
