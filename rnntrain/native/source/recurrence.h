// The time loop of a recurrence, forward and backward, for every cell that is one product with the state a step.
//
// Each thread owns some rows of the batch and takes them through all steps, so that threads never wait for each other
// and a row's state stays in its core's cache. Time goes in chunks small enough for that cache: products with the
// input, its gradient and the weights' gradients are taken for a whole chunk while what they read is still there.
// forward.h and backward.h hold the two loops.
//
// A cell says what happens between the products (see cells.h). Shapes: x (B,T,D), weight_x (G,D), weight_h (Q,P),
// gates (B,T,G), extra (B,T,E), y (B,T,P), h (B,P), c (B,C); all of them contiguous. Q is G and P is H, the number of
// units, but for the cells that say otherwise.

#pragma once

#include "parallel.h"
#include "product.h"

extern "C" {
struct Sequence {
  int64_t B, T, D, H, P, skip;
  const int64_t* lengths;   // valid steps of each row, or null
  const float* x;
  const float* weight_x;
  const float* bias_x;
  const float* weight_h;
  const float* bias_h;
  const float* projection;  // from the units to the output, (P,H), or null
  const float* options;     // the cell's own further weights, or null
  const float* update;      // factors of the candidate g, (B,H), or null
  const float* zone_c;      // the share of the last cell and output that is kept, (T,B,H), or null
  const float* zone_h;
  const float* h0;
  const float* c0;          // the last `skip` states, (B,skip,H), of a cell that reads those
  float* y;
  float* h_last;
  float* c_last;
  float* gates;             // kept for the backward pass; null in inference
  float* extra;
};

struct Gradients {
  const float* y;           // each of the first three may be null, for zero
  const float* h_last;
  const float* c_last;
  float* x;                 // null where nobody asks for it
  float* weight_x;
  float* bias_x;
  float* weight_h;
  float* bias_h;
  float* projection;
  float* options;
  float* h0;
  float* c0;
};
}

// One row at one step, forward: `gates` holds the input's share and then what the cell keeps.
struct Forward {
  int H;
  size_t b, t;
  float* gates;
  const float* recurrent;
  float* h;
  float* c;
  float* extra;
  float* y;
};

// One row at one step, backward: dh and dc hold the gradients of the state after the step and then, but for the
// share that goes through the product with weight_h, of the state before. `recurrent` gets the gradient of what that
// product gave, and gates_out that of the input's share.
struct Backward {
  int H;
  size_t b, t;
  const float* dy;
  const float* gates;
  const float* extra;
  const float* h_before;
  const float* c_before;
  const float* y;
  float* dh;
  float* dc;
  float* gates_out;
  float* recurrent;
  float* kept;  // `recurrent` again, for the weights, where it is not gates_out
  float* options;
};

// How much of a chunk is kept in cache, and how many steps are summed before a weight gradient is touched again.
constexpr int CHUNK_FLOATS = 65536, OUTER_STEPS = 256;

// The distance of rows that are read by columns: a power of two would let them meet in few places of a cache.
inline int spread(int n) { return padded(n) % 256 ? padded(n) : padded(n) + LANES; }

inline int chunk_steps(int T, int rows, int G) {
  const int64_t floats = std::max<int64_t>(1, static_cast<int64_t>(rows) * G);
  return std::min(T, std::max(TILE_ROWS, static_cast<int>(CHUNK_FLOATS / floats) / TILE_ROWS * TILE_ROWS));
}

inline void pack_share(float* packed, const float* from, int K, int N, ptrdiff_t row_stride, ptrdiff_t column_stride,
                       int thread, int num_threads) {
  for (int p = thread; p < num_panels(N); p += num_threads) {
    pack_panel(packed, from, K, N, row_stride, column_stride, p);
  }
}

// A right factor (K × N) of the steps; its entry (k, j) lies at from[k * row_stride + j * column_stride].
struct Factor {
  const float* from;
  int K, N;
  ptrdiff_t row_stride, column_stride;

  Factor transposed() const { return {from, N, K, column_stride, row_stride}; }
  size_t size() const { return Scratch::rounded(static_cast<size_t>(K) * padded(N)); }
  void pack(float* packed, int thread, int num_threads) const {
    pack_share(packed, from, K, N, row_stride, column_stride, thread, num_threads);
  }
};

// How many numbers the product with the state gives.
template <class Cell>
int recurrent_width(const Sequence& s) {
  return (Cell::RECURRENT ? Cell::RECURRENT : Cell::GATES) * static_cast<int>(s.H);
}

// What h is multiplied by, forward.
template <class Cell>
Factor first_factor(const Sequence& s) {
  const int P = s.P, width = Cell::TWO_PRODUCTS ? 2 * P : recurrent_width<Cell>(s);
  return {s.weight_h, P, width, 1, P};
}

// What the second product of a step multiplies; empty where there is none.
template <class Cell>
Factor second_factor(const Sequence& s) {
  const int H = s.H, P = s.P, Q = recurrent_width<Cell>(s);
  if (Cell::TWO_PRODUCTS) return {s.weight_h + static_cast<size_t>(2 * H) * H, H, H, 1, H};
  if (Cell::READS_CELL || Cell::SKIPS) return {s.weight_h + static_cast<size_t>(Q) * H, H, Q, 1, H};
  if (Cell::PROJECTED) return {s.projection, H, P, 1, H};
  return {nullptr, 0, 0, 0, 0};
}

inline int valid_steps(const Sequence& s, int row) {
  return s.lengths ? static_cast<int>(std::min<int64_t>(s.T, std::max<int64_t>(0, s.lengths[row])))
                   : static_cast<int>(s.T);
}

// The most valid steps that any of these rows has.
inline int longest(const Sequence& s, Share rows) {
  int steps = 0;
  for (int b = rows.begin; b < rows.end; ++b) steps = std::max(steps, valid_steps(s, b));
  return steps;
}

// What step t of a row reads of `skip` steps ago.
inline const float* skipped(const Sequence& s, size_t row, int64_t t) {
  return t < s.skip ? s.c0 + (row * s.skip + t) * s.H : s.y + (row * s.T + t - s.skip) * s.H;
}
