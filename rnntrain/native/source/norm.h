// Layer norm of a row, and what else the regularised cells share.

#pragma once

#include <type_traits>

#include "recurrence.h"

constexpr float EPSILON = 1e-5f;

struct Moments {
  float mean, rstd;
};

inline Moments moments(const float* x, int n) {
  Vec total{};
  over(n, [&](int j, auto extent) { total += load(x + j, extent); });
  const float mean = sum(total) / n;
  Vec squares{};
  over(n, [&](int j, auto extent) {
    // What a partial vector lacks is zero, and must stay so.
    if constexpr (std::is_same_v<decltype(extent), Part>) {
      for (int i = j; i < n; ++i) squares[0] += (x[i] - mean) * (x[i] - mean);
    } else {
      const Vec d = load(x + j, extent) - mean;
      squares += d * d;
    }
  });
  return {mean, 1.0f / __builtin_sqrtf(sum(squares) / n + EPSILON)};
}

// Writes (x - mean) / deviation; returns the reciprocal deviation.
inline float normalise(const float* x, int n, float* to) {
  const Moments m = moments(x, n);
  over(n, [&](int j, auto extent) { store(to + j, (load(x + j, extent) - m.mean) * m.rstd, extent); });
  return m.rstd;
}

// The gradient by what a norm read, from that by what it gave; adds that of its gain. `to` and `twin` get it.
inline void normalise_back(const float* d, const float* normed, float rstd, const float* gain, int n, float* gain_grad,
                           float* to, float* twin) {
  Vec sums{}, sums_normed{};
  over(n, [&](int j, auto extent) {
    const Vec given = load(d + j, extent), x = load(normed + j, extent), scaled = given * load(gain + j, extent);
    store(gain_grad + j, load(gain_grad + j, extent) + given * x, extent);
    sums += scaled, sums_normed += scaled * x;
  });
  const float mean = sum(sums) / n, mean_normed = sum(sums_normed) / n;
  over(n, [&](int j, auto extent) {
    const Vec scaled = load(d + j, extent) * load(gain + j, extent);
    const Vec result = rstd * (scaled - mean - load(normed + j, extent) * mean_normed);
    store(to + j, result, extent);
    store(twin + j, result, extent);
  });
}

// The rates of zoneout of row b at step t, if there are any.
inline const float* zone(const float* zones, const Sequence& q, size_t b, size_t t) {
  return zones ? zones + (t * q.B + b) * q.H : nullptr;
}

template <class Extent>
inline void add(float* to, Vec x, Extent n) {
  store(to, load(to, n) + x, n);
}
