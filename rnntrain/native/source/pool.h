// Recurrences without a product: h_t = a_t ⊙ h_{t-1} + b_t, and the gated pool h_t = f_t ⊙ h_{t-1} + (1 - f_t) ⊙ φ(v_t).

#pragma once

#include <algorithm>

#include "parallel.h"
#include "vector.h"

extern "C" {
// Element n of step t lies at t * N + n; `a_step` is N, or 0 where all steps share one a.
struct Scan {
  int64_t T, N, a_step;
  const float* a;
  const float* b;
  const float* h0;
  float* h;
};

struct ScanGradients {
  const float* h;
  float* a;  // a_step · T or N numbers; may be null
  float* b;
  float* h0;
};

// Row (b, t) of the tensor x lies at x + b * x_row + t * x_step and holds H numbers; y is (B,T,H).
struct Pool {
  int64_t B, T, H, f_row, f_step, v_row, v_step;
  int64_t candidate;  // φ: 0 the identity, 1 tanh, 2 x + 0.5 above zero and σ(x) below
  float f_sign;       // f_t = σ(f_sign * f)
  const float* f;
  const float* v;
  const float* h0;
  float* y;
};

struct PoolGradients {
  const float* y;
  const float* h_last;
  int64_t row, step;  // of the next two
  float* f;
  float* v;
  float* h0;
};
}

inline Share vectors_of(int64_t N, int thread, int num_threads) {
  const Share share(static_cast<int>((N + 63) / 64), thread, num_threads);
  Share numbers(0, 0, 1);
  numbers.begin = share.begin * 64, numbers.end = static_cast<int>(std::min<int64_t>(N, share.end * 64LL));
  return numbers;
}

inline int scan_forward_of(const Scan& s, int threads) {
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share n = vectors_of(s.N, thread, num_threads);
    for (int64_t t = 0; t < s.T; ++t) {
      const float *a = s.a + t * s.a_step + n.begin, *b = s.b + t * s.N + n.begin;
      const float* before = (t ? s.h + (t - 1) * s.N : s.h0) + n.begin;
      float* h = s.h + t * s.N + n.begin;
      over(n.end - n.begin, [&](int j, auto e) { store(h + j, load(b + j, e) + load(a + j, e) * load(before + j, e), e); });
    }
  });
  return 0;
}

inline int scan_backward_of(const Scan& s, const ScanGradients& g, int threads) {
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share n = vectors_of(s.N, thread, num_threads);
    const int count = n.end - n.begin;
    if (g.a && !s.a_step) std::memset(g.a + n.begin, 0, sizeof(float) * std::max(0, count));
    for (int64_t t = s.T - 1; t >= 0; --t) {
      const float *a_after = s.a + (t + 1) * s.a_step + n.begin, *dh = g.h + t * s.N + n.begin;
      const float* before = (t ? s.h + (t - 1) * s.N : s.h0) + n.begin;
      float *b = g.b + t * s.N + n.begin, *b_after = b + s.N, *a = g.a ? g.a + t * s.a_step + n.begin : nullptr;
      const bool last = t == s.T - 1, shared = !s.a_step;
      over(count, [&](int j, auto e) {
        const Vec d = last ? load(dh + j, e) : load(dh + j, e) + load(a_after + j, e) * load(b_after + j, e);
        store(b + j, d, e);
        if (a) store(a + j, shared ? load(a + j, e) + d * load(before + j, e) : d * load(before + j, e), e);
      });
    }
    over(count, [&](int j, auto e) { store(g.h0 + n.begin + j, load(s.a + n.begin + j, e) * load(g.b + n.begin + j, e), e); });
  });
  return 0;
}

template <int CANDIDATE>
inline Vec candidate(Vec v) {
  if (CANDIDATE == 1) return tanh_of(v);
  if (CANDIDATE == 2) return v >= 0.0f ? v + 0.5f : sigmoid(v);
  return v;
}

// φ'(v), given φ(v).
template <int CANDIDATE>
inline Vec slope(Vec v, Vec value) {
  if (CANDIDATE == 1) return 1.0f - value * value;
  if (CANDIDATE == 2) return v >= 0.0f ? fill(1.0f) : value * (1.0f - value);
  return fill(1.0f);
}

template <int CANDIDATE>
int pool_forward_of(const Pool& s, int threads) {
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share rows(static_cast<int>(s.B), thread, num_threads);
    for (int64_t b = rows.begin; b < rows.end; ++b) {
      const float* before = s.h0 + b * s.H;
      for (int64_t t = 0; t < s.T; ++t) {
        const float *f = s.f + b * s.f_row + t * s.f_step, *v = s.v + b * s.v_row + t * s.v_step;
        float* y = s.y + (b * s.T + t) * s.H;
        over(static_cast<int>(s.H), [&](int j, auto n) {
          const Vec fresh = candidate<CANDIDATE>(load(v + j, n));
          store(y + j, fresh + sigmoid(s.f_sign * load(f + j, n)) * (load(before + j, n) - fresh), n);
        });
        before = y;
      }
    }
  });
  return 0;
}

template <int CANDIDATE>
int pool_backward_of(const Pool& s, const PoolGradients& g, int threads) {
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share rows(static_cast<int>(s.B), thread, num_threads);
    for (int64_t b = rows.begin; b < rows.end; ++b) {
      float* dh = g.h0 + b * s.H;  // holds the gradient that comes from later steps
      if (g.h_last) {
        std::memcpy(dh, g.h_last + b * s.H, sizeof(float) * s.H);
      } else {
        std::memset(dh, 0, sizeof(float) * s.H);
      }
      for (int64_t t = s.T - 1; t >= 0; --t) {
        const int64_t f_at = b * s.f_row + t * s.f_step, v_at = b * s.v_row + t * s.v_step;
        const int64_t at = b * g.row + t * g.step, y_at = (b * s.T + t) * s.H;
        const float *before = t ? s.y + y_at - s.H : s.h0 + b * s.H, *dy = g.y ? g.y + y_at : nullptr;
        over(static_cast<int>(s.H), [&](int j, auto n) {
          const Vec v = load(s.v + v_at + j, n), fresh = candidate<CANDIDATE>(v);
          const Vec keep = sigmoid(s.f_sign * load(s.f + f_at + j, n));
          const Vec d = dy ? load(dh + j, n) + load(dy + j, n) : load(dh + j, n);
          store(g.f + at + j, s.f_sign * d * (load(before + j, n) - fresh) * keep * (1.0f - keep), n);
          store(g.v + at + j, d * (1.0f - keep) * slope<CANDIDATE>(v, fresh), n);
          store(dh + j, d * keep, n);
        });
      }
    }
  });
  return 0;
}
