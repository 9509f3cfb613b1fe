// Recurrences without a product: h_t = a_t ⊙ h_{t-1} + b_t, over real or complex numbers, and the gated pool
// h_t = f_t ⊙ h_{t-1} + (1 - f_t) ⊙ φ(v_t).

#pragma once

#include <algorithm>

#include "parallel.h"
#include "product.h"
#include "vector.h"

extern "C" {
// Number n of step t lies at t * N + n; a complex one is two numbers, and N counts both. a_step is N, or 0 where all
// steps share one a.
struct Scan {
  int64_t T, N, a_step;
  const float* a;
  const float* b;
  const float* h0;
  float* h;
};

struct ScanGradients {
  const float* h;
  float* a;  // as many numbers as a has; may be null
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

// b + a h, or b + conj(a) h, and for what is real the same; `j` counts numbers, each of them real or complex.
struct Real {
  static void multiply_add(int n, const float* a, const float* h, const float* b, float* to) {
    over(n, [&](int j, auto e) { store(to + j, load(b + j, e) + load(a + j, e) * load(h + j, e), e); });
  }
  static void conjugate_multiply_add(int n, const float* a, const float* h, const float* b, float* to) {
    multiply_add(n, a, h, b, to);
  }
};

struct Complex {
  template <int SIGN>
  static void run(int n, const float* a, const float* h, const float* b, float* to) {
    for (int j = 0; j < n; j += 2) {
      const float re = a[j], im = SIGN * a[j + 1], h_re = h[j], h_im = h[j + 1];
      to[j] = b[j] + (re * h_re - im * h_im);
      to[j + 1] = b[j + 1] + (re * h_im + im * h_re);
    }
  }
  static void multiply_add(int n, const float* a, const float* h, const float* b, float* to) { run<1>(n, a, h, b, to); }
  static void conjugate_multiply_add(int n, const float* a, const float* h, const float* b, float* to) {
    run<-1>(n, a, h, b, to);
  }
};

constexpr int SCAN_BLOCK = 64;  // numbers; each thread takes whole blocks of them through all steps

template <class Number>
int run_scan(const Scan& s, int threads) {
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share blocks(ceil_div(static_cast<int>(s.N), SCAN_BLOCK), thread, num_threads);
    const int64_t begin = std::min<int64_t>(s.N, blocks.begin * SCAN_BLOCK);
    const int n = static_cast<int>(std::min<int64_t>(s.N, blocks.end * SCAN_BLOCK) - begin);
    for (int64_t t = 0; t < s.T; ++t) {
      const float* before = (t ? s.h + (t - 1) * s.N : s.h0) + begin;
      Number::multiply_add(n, s.a + t * s.a_step + begin, before, s.b + t * s.N + begin, s.h + t * s.N + begin);
    }
  });
  return 0;
}

// Backwards, the gradient by b is the same recurrence: g_t = ∂h_t + conj(a_{t+1}) g_{t+1}.
template <class Number>
int run_scan_back(const Scan& s, const ScanGradients& g, int threads) {
  Scratch scratch(Scratch::rounded(s.N));
  if (!scratch) return 1;
  float* zeros = scratch.take(s.N);
  std::memset(zeros, 0, sizeof(float) * s.N);
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share blocks(ceil_div(static_cast<int>(s.N), SCAN_BLOCK), thread, num_threads);
    const int64_t begin = std::min<int64_t>(s.N, blocks.begin * SCAN_BLOCK);
    const int n = static_cast<int>(std::min<int64_t>(s.N, blocks.end * SCAN_BLOCK) - begin);
    if (g.a && !s.a_step) std::memset(g.a + begin, 0, sizeof(float) * n);
    for (int64_t t = s.T - 1; t >= 0; --t) {
      float* b = g.b + t * s.N + begin;
      const float* before = (t ? s.h + (t - 1) * s.N : s.h0) + begin;
      if (t == s.T - 1) {
        std::memcpy(b, g.h + t * s.N + begin, sizeof(float) * n);
      } else {
        Number::conjugate_multiply_add(n, s.a + (t + 1) * s.a_step + begin, b + s.N, g.h + t * s.N + begin, b);
      }
      if (g.a) {
        float* a = g.a + t * s.a_step + begin;
        Number::conjugate_multiply_add(n, before, b, s.a_step ? zeros + begin : a, a);
      }
    }
    Number::conjugate_multiply_add(n, s.a + begin, g.b + begin, zeros + begin, g.h0 + begin);
  });
  return 0;
}

template <int CANDIDATE>
inline Vec candidate(Vec v) {
  if (CANDIDATE == 1) return tanh_of(v);
  if (CANDIDATE == 2) return v >= 0.0f ? v + 0.5f : sigmoid(v);
  return v;
}

// σ(x) and σ(-x), each to its own last bit.
struct Gate {
  Vec keep, take;
  explicit Gate(Vec x) {
    const Vec e = exp_of(-x);
    keep = 1.0f / (1.0f + e), take = e * keep;
  }
};

// φ'(v), given φ(v).
template <int CANDIDATE>
inline Vec slope(Vec v, Vec value) {
  if (CANDIDATE == 1) return 1.0f - value * value;
  if (CANDIDATE == 2) return v >= 0.0f ? fill(1.0f) : value * (1.0f - value);
  return fill(1.0f);
}

template <int CANDIDATE>
int run_pool(const Pool& s, int threads) {
  in_parallel(threads, [&](int thread, int num_threads) {
    const Share rows(static_cast<int>(s.B), thread, num_threads);
    for (int64_t b = rows.begin; b < rows.end; ++b) {
      const float* before = s.h0 + b * s.H;
      for (int64_t t = 0; t < s.T; ++t) {
        const float *f = s.f + b * s.f_row + t * s.f_step, *v = s.v + b * s.v_row + t * s.v_step;
        float* y = s.y + (b * s.T + t) * s.H;
        over(static_cast<int>(s.H), [&](int j, auto n) {
          const Vec fresh = candidate<CANDIDATE>(load(v + j, n));
          const Gate gate(s.f_sign * load(f + j, n));
          store(y + j, gate.keep * load(before + j, n) + gate.take * fresh, n);
        });
        before = y;
      }
    }
  });
  return 0;
}

template <int CANDIDATE>
int run_pool_back(const Pool& s, const PoolGradients& g, int threads) {
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
          const Gate gate(s.f_sign * load(s.f + f_at + j, n));
          const Vec d = dy ? load(dh + j, n) + load(dy + j, n) : load(dh + j, n);
          store(g.f + at + j, s.f_sign * d * (load(before + j, n) - fresh) * gate.keep * gate.take, n);
          store(g.v + at + j, d * gate.take * slope<CANDIDATE>(v, fresh), n);
          store(dh + j, d * gate.keep, n);
        });
      }
    }
  });
  return 0;
}
