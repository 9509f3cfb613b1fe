// One step of a few rows, forward alone: what sampling takes a thousand times, each time with a handful of rows.
//
// Weights are read where they lie, a row of them after the other, since packing them would cost more than the product.
// Each number is one sum over vectors, folded at the end, whatever rows stand beside it: a row's bits do not depend on
// the rest of its batch.

#pragma once

#include "cells.h"
#include "gated_cells.h"

inline float total(Vec x) {
  float parts[LANES];
  std::memcpy(parts, &x, sizeof(x));
  typedef float Four __attribute__((vector_size(16)));
  Four sums[LANES / 4];
  std::memcpy(sums, parts, sizeof(x));
  for (int width = LANES / 8; width; width /= 2) {
    for (int i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return (sums[0][0] + sums[0][2]) + (sums[0][1] + sums[0][3]);
}

// C (ROWS × COLUMNS) = bias + A Wᵀ, from rows of both.
template <int ROWS, int COLUMNS>
void dots(int K, const float* a, ptrdiff_t a_row, const float* w, ptrdiff_t w_row, const float* bias, float* c,
          ptrdiff_t c_row) {
  Vec sums[ROWS][COLUMNS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < COLUMNS; ++j) sums[i][j] = Vec{};
  }
  over(K, [&](int k, auto n) {
    Vec right[COLUMNS];
#pragma GCC unroll 8
    for (int j = 0; j < COLUMNS; ++j) right[j] = load(w + j * w_row + k, n);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const Vec left = load(a + i * a_row + k, n);
#pragma GCC unroll 8
      for (int j = 0; j < COLUMNS; ++j) sums[i][j] += left * right[j];
    }
  });
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < COLUMNS; ++j) c[i * c_row + j] = total(sums[i][j]) + (bias ? bias[j] : 0.0f);
  }
}

// C (rows × N) = bias + A (rows × K) Wᵀ; W is N × K.
inline void multiply_rows(int rows, int K, int N, const float* a, ptrdiff_t a_row, const float* w, const float* bias,
                          float* c, ptrdiff_t c_row) {
  const auto at = [&](const float* p, int j) { return p ? p + j : nullptr; };
  for (int j = 0; j < N;) {
    const float* from = w + static_cast<size_t>(j) * K;
    const int columns = N - j >= 8 && rows == 1 ? 8 : N - j >= 4 ? 4 : 1;
    for (int i = 0; i < rows;) {
      const float* left = a + i * a_row;
      float* to = c + i * c_row + j;
      const int block = columns == 4 && rows - i >= 4 ? 4 : 1;
      const auto run = block == 4 ? dots<4, 4> : columns == 8 ? dots<1, 8> : columns == 4 ? dots<1, 4> : dots<1, 1>;
      run(K, left, a_row, from, K, at(bias, j), to, c_row);
      i += block;
    }
    j += columns;
  }
}

// One step of every row: reads h0 and c0, writes y (which is h) and c_last. T is 1, and all rows are valid. Of a cell
// that skips, c0 is the one output that it reads.
template <class Cell>
int run_step(const Sequence& s) {
  static_assert(!Cell::TWO_PRODUCTS, "such a cell has no step of its own");
  const int B = s.B, D = s.D, H = s.H, P = s.P, G = Cell::GATES * H, Q = recurrent_width<Cell>(s);
  const int E = Cell::extra(H), C = Cell::CELLS * H;
  const size_t size_gates = Scratch::rounded(static_cast<size_t>(B) * G);
  const size_t size_now = Scratch::rounded(static_cast<size_t>(B) * Q), size_c = Scratch::rounded(C);
  const size_t size_shown = Scratch::rounded(static_cast<size_t>(B) * H);
  Scratch scratch(size_gates + 2 * size_now + size_shown + size_c + Scratch::rounded(E) + Scratch::rounded(P));
  if (!scratch) return 1;
  float *gates = scratch.take(size_gates), *now = scratch.take(size_now), *other = scratch.take(size_now);
  float *shown = scratch.take(size_shown), *own_c = scratch.take(size_c), *extra = scratch.take(E);
  multiply_rows(B, D, G, s.x, D, s.weight_x, s.bias_x, gates, G);
  multiply_rows(B, P, Q, s.h0, P, s.weight_h, s.bias_h, now, Q);
  if constexpr (Cell::READS_CELL || Cell::SKIPS) {
    multiply_rows(B, H, Q, s.c0, H, s.weight_h + static_cast<size_t>(Q) * H, nullptr, other, Q);
    over(B * Q, [&](int j, auto n) { store(now + j, load(now + j, n) + load(other + j, n), n); });
  }
  for (int b = 0; b < B; ++b) {
    const size_t row = b;
    float* c = s.c_last ? s.c_last + row * C : own_c;
    if (s.c0) std::memcpy(c, s.c0 + row * C, sizeof(float) * C);
    float* h = Cell::PROJECTED ? shown + row * H : s.y + row * H;
    if (!Cell::PROJECTED) std::memcpy(h, s.h0 + row * H, sizeof(float) * H);
    Cell::forward({H, row, 0, gates + row * G, now + row * Q, h, c, extra, h}, s);
  }
  if constexpr (Cell::PROJECTED) multiply_rows(B, H, P, shown, H, s.projection, nullptr, s.y, P);
  return 0;
}

// Likewise for gates that read the input alone; x is (B, window, D).
template <class Cell>
int run_gated_step(const Gated& s) {
  const int B = s.B, K = s.window * s.D, H = s.H, G = Cell::GATES * H;
  Scratch scratch(static_cast<size_t>(B) * G);
  if (!scratch) return 1;
  float* gates = scratch.take(static_cast<size_t>(B) * G);
  multiply_rows(B, K, G, s.x, K, s.weight, s.bias, gates, G);
  for (size_t b = 0; b < static_cast<size_t>(B); ++b) {
    const float* newest = s.x + b * K + (s.window - 1) * s.D;
    Cell::forward({H, gates + b * G, newest, s.h0 + b * H, s.options, s.h + b * H, s.y + b * H});
  }
  return 0;
}
