// Products of float32 matrices at the speed of the processor's registers.
//
// The right factor (K × N) is packed once into panels of up to TILE_VECTORS vectors and then serves every step of a
// sequence. A row of the result is summed in the same order whatever other rows there are, so that neither the
// number of threads nor the batch reaches its bits.

#pragma once

#include <algorithm>

#include "vector.h"

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }
inline int padded(int n) { return ceil_div(n, LANES) * LANES; }

// Where panel p of a matrix with n columns begins, in vectors; panels are as even as can be.
inline int num_panels(int n) { return ceil_div(ceil_div(n, LANES), TILE_VECTORS); }
inline int panel_start(int n, int p) {
  return static_cast<int>(static_cast<int64_t>(ceil_div(n, LANES)) * p / num_panels(n));
}

// Where block number `block` of rows begins, of so many that are as even as can be.
inline int block_start(int rows, int block, int blocks) {
  return static_cast<int>(static_cast<int64_t>(rows) * block / blocks);
}

// Packs panel p of the K × N matrix whose entry (k, j) lies at from[k * row_stride + j * column_stride].
inline void pack_panel(float* packed, const float* from, int K, int N, ptrdiff_t row_stride, ptrdiff_t column_stride,
                       int p) {
  const int first = panel_start(N, p) * LANES, width = panel_start(N, p + 1) * LANES - first;
  const int valid = std::min(width, N - first);
  float* to = packed + static_cast<size_t>(first) * K;
  for (int k = 0; k < K; ++k, to += width) {
    const float* row = from + k * row_stride + first * column_stride;
    for (int j = 0; j < valid; ++j) to[j] = row[j * column_stride];
    for (int j = valid; j < width; ++j) to[j] = 0;
  }
}

// One tile: C (ROWS × VECTORS·LANES) = init + A B. A's entry (i, k) lies at a[i * a_row + k * a_step]. `init` may be
// null for zero, a bias with init_row = 0, or C itself. Of the last vector `last` numbers are read and written.
template <int ROWS, int VECTORS>
void tile(int K, const float* a, ptrdiff_t a_row, ptrdiff_t a_step, const float* b, const float* init,
          ptrdiff_t init_row, float* c, ptrdiff_t c_row, int last) {
  Vec sums[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) sums[i][v] = Vec{};
  }
  for (int k = 0; k < K; ++k, a += a_step, b += VECTORS * LANES) {
    Vec right[VECTORS];
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) right[v] = load(b + v * LANES, Whole{});
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const Vec left = fill(a[i * a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; ++v) sums[i][v] += left * right[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < VECTORS; ++v) {
      float* to = c + i * c_row + v * LANES;
      const float* from = init + i * init_row + v * LANES;
      if (v < VECTORS - 1 || last == LANES) {
        store(to, init ? sums[i][v] + load(from, Whole{}) : sums[i][v], Whole{});
      } else {
        store(to, init ? sums[i][v] + load(from, Part{last}) : sums[i][v], Part{last});
      }
    }
  }
}

using Tile = void (*)(int, const float*, ptrdiff_t, ptrdiff_t, const float*, const float*, ptrdiff_t, float*,
                      ptrdiff_t, int);

template <int ROWS>
inline Tile tile_of_rows(int vectors) {
  if constexpr (TILE_VECTORS >= 4) {
    if (vectors == 4) return tile<ROWS, 4>;
  }
  if constexpr (TILE_VECTORS >= 3) {
    if (vectors == 3) return tile<ROWS, 3>;
  }
  return vectors == 2 ? tile<ROWS, 2> : tile<ROWS, 1>;
}

inline Tile tile_for(int rows, int vectors) {
  if constexpr (TILE_ROWS >= 6) {
    if (rows == 6) return tile_of_rows<6>(vectors);
    if (rows == 5) return tile_of_rows<5>(vectors);
  }
  switch (rows) {
    case 4:
      return tile_of_rows<4>(vectors);
    case 3:
      return tile_of_rows<3>(vectors);
    case 2:
      return tile_of_rows<2>(vectors);
    default:
      return tile_of_rows<1>(vectors);
  }
}

// C (rows × N) = init + A (rows × K) times panel p of the packed B.
inline void multiply_panel(int p, int rows, int K, int N, const float* a, ptrdiff_t a_row, ptrdiff_t a_step,
                           const float* packed, const float* init, ptrdiff_t init_row, float* c, ptrdiff_t c_row) {
  const int start = panel_start(N, p), vectors = panel_start(N, p + 1) - start, first = start * LANES;
  const int last = std::min(LANES, N - first - (vectors - 1) * LANES);
  const float* b = packed + static_cast<size_t>(first) * K;
  const int blocks = ceil_div(rows, TILE_ROWS);
  for (int block = 0; block < blocks; ++block) {
    const int i = block_start(rows, block, blocks), count = block_start(rows, block + 1, blocks) - i;
    tile_for(count, vectors)(K, a + i * a_row, a_row, a_step, b, init ? init + i * init_row + first : nullptr,
                             init_row, c + i * c_row + first, c_row, last);
  }
}

inline void multiply(int rows, int K, int N, const float* a, ptrdiff_t a_row, const float* packed, const float* init,
                     ptrdiff_t init_row, float* c, ptrdiff_t c_row) {
  for (int p = 0; p < num_panels(N); ++p) {
    multiply_panel(p, rows, K, N, a, a_row, 1, packed, init, init_row, c, c_row);
  }
}
