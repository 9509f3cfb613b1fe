// The linear recurrence h_t = a_t ⊙ h_{t-1} + b_t over real or complex numbers.

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
