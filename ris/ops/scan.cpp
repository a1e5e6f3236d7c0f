// Scans of a collection: inner products of one query with rows, and the best rows of either end.
// Each function has a numpy reference in scan.py, which also documents the arguments. All return
// 0, or 1 where memory ran out.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <new>
#include <thread>
#include <vector>

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

// Runs work(begin, end, thread) on equal parts of [0, count), the last part on this thread.
template <class Work>
void divide(std::int64_t count, int threads, Work work) {
  std::vector<std::thread> others;
  const auto bound = [&](int t) { return count * t / threads; };
  for (int t = 0; t + 1 < threads; ++t) others.emplace_back(work, bound(t), bound(t + 1), t);
  work(bound(threads - 1), count, threads - 1);
  for (auto& other : others) other.join();
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
  divide(rows, threads, [&](std::int64_t begin, std::int64_t end, int t) {
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

template <class Work>
int guarded(Work work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}

}  // namespace

extern "C" {

int ris_code_ends(const std::int8_t* codes, std::int64_t rows, std::int64_t width,
                  const std::int16_t* query, const std::uint8_t* allowed, std::int64_t keep,
                  int threads, std::int64_t* near, std::int64_t* far, std::int64_t* found) {
  return guarded([&] {
    const auto score = [=](const std::int64_t* list, std::int64_t count, std::int32_t* up, std::int32_t* down) {
      for (std::int64_t i = 0; i < count; ++i) {
        up[i] = code_product(codes + list[i] * width, query, width);
        down[i] = -up[i];
      }
    };
    both_ends(rows, allowed, keep, threads, score, near, far, found);
  });
}

int ris_score_ends(const float* scores, std::int64_t rows, const std::uint8_t* allowed,
                   std::int64_t keep, int threads, std::int64_t* near, std::int64_t* far,
                   std::int64_t* found) {
  return guarded([&] {
    const auto score = [=](const std::int64_t* list, std::int64_t count, std::int32_t* up, std::int32_t* down) {
      for (std::int64_t i = 0; i < count; ++i) {
        up[i] = ordered(scores[list[i]]);
        down[i] = ordered(-scores[list[i]]);
      }
    };
    both_ends(rows, allowed, keep, threads, score, near, far, found);
  });
}

int ris_half_products(const std::uint16_t* half, std::int64_t dims, const double* query,
                      const std::int64_t* list, std::int64_t count, int threads, float* out) {
  return guarded([&] {
    divide(count, threads, [=](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i)
        out[i] = cosine(half_product(half + (list ? list[i] : i) * dims, query, dims));
    });
  });
}

int ris_sparse_products(const std::int64_t* ends, const std::uint16_t* channels,
                        const std::uint16_t* values, const double* query, const std::int64_t* list,
                        std::int64_t count, int threads, float* out) {
  return guarded([&] {
    divide(count, threads, [=](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t row = list ? list[i] : i;
        const std::int64_t first = row ? ends[row - 1] : 0;
        out[i] = cosine(sparse_product(channels + first, values + first, ends[row] - first, query));
      }
    });
  });
}
}
