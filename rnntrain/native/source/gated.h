// The time loop of recurrences whose gates read the input alone, forward and backward, from input to output.
//
// Each thread takes its rows of the batch one after the other, and a row in chunks of time whose gates fit into a
// core's cache: the product with the input, the gates' functions and the recurrence pass over them there, and nothing
// but states and outputs is written to memory. The backward pass computes the gates of a chunk anew, which takes less
// time than it would to fetch them.

#pragma once

#include "backward.h"

extern "C" {
struct Gated {
  int64_t B, T, D, H, window;  // step t reads the inputs t … t + window - 1
  const int64_t* lengths;      // valid steps of each row, or null
  const float* x;              // (B, T + window - 1, D)
  const float* weight;         // (G, window · D)
  const float* bias;           // (G), or null
  const float* options;        // the cell's own further weights, or null
  const float* h0;             // (B, H)
  float* y;                    // (B, T, H)
  float* h;                    // the states, (B, T, H): y where that is all there is to the output
  float* h_last;               // (B, H)
};

struct GatedGradients {
  const float* y;  // each of the first two may be null, for zero
  const float* h_last;
  float* x;        // null where nobody asks for it
  float* weight;
  float* bias;
  float* options;
  float* h0;
};
}

// One row at one step, forward: `gates` holds the products with the input. h and y may be one.
struct GatedForward {
  int H;
  const float* gates;
  const float* x;
  const float* before;
  const float* options;
  float* h;
  float* y;
};

// One row at one step, backward: `gates` holds the products and then their gradients, dh the gradient of the state
// after the step but for what comes through y, and then of the state before. dx is null where nobody asks for it.
struct GatedBackward {
  int H;
  float* gates;
  const float* x;
  const float* before;
  const float* h;
  const float* dy;
  const float* options;
  float* dh;
  float* dx;
  float* options_grad;
};

constexpr int GATED_CHUNK_FLOATS = 24576;

template <class Cell>
class GatedPart {
 public:
  GatedPart(const Gated& s)
      : s_(s), D_(s.D), H_(s.H), G_(Cell::GATES * s.H), K_(s.window * s.D), Gs_(spread(G_)),
        steps_(std::min<int64_t>(s.T, std::max(TILE_ROWS, GATED_CHUNK_FLOATS / Gs_ / TILE_ROWS * TILE_ROWS))),
        size_chunk_(Scratch::rounded(static_cast<size_t>(steps_) * Gs_)),
        size_weight_(Scratch::rounded(static_cast<size_t>(G_) * K_)), size_bias_(Scratch::rounded(G_)),
        size_options_(Scratch::rounded(Cell::options(H_))) {}

  size_t forward_size() const { return size_chunk_; }
  size_t sums_size() const { return size_weight_ + size_bias_ + size_options_; }
  size_t bias_at() const { return size_weight_; }
  size_t options_at() const { return size_weight_ + size_bias_; }
  size_t backward_size() const {
    return sums_size() + Scratch::rounded(H_) + size_chunk_ + OUTER_STEPS * LANES * TILE_VECTORS;
  }

  void forward(int b, const float* packed, float* chunk) const {
    const int valid = valid_steps(b);
    const float* before = s_.h0 + static_cast<size_t>(b) * H_;
    for (int t0 = 0; t0 < valid; t0 += steps_) {
      const int t1 = std::min(valid, t0 + steps_);
      products(b, t0, t1, packed, chunk);
      for (int t = t0; t < t1; ++t) {
        float* h = state(b, t);
        const float* gates = chunk + static_cast<size_t>(t - t0) * Gs_;
        Cell::forward({H_, gates, input(b, t), before, s_.options, h, s_.y + at(b, t) * H_});
        before = h;
      }
    }
    std::memcpy(s_.h_last + static_cast<size_t>(b) * H_, before, sizeof(float) * H_);
    clear(s_.y, b, valid);
    if (s_.h != s_.y) clear(s_.h, b, valid);
  }

  // Adds to the sums that `own` begins with.
  void backward(int b, const GatedGradients& g, const float* packed, const float* packed_back, float* own) const {
    const int valid = valid_steps(b);
    float *zeros = own + sums_size(), *chunk = zeros + Scratch::rounded(H_), *packed_right = chunk + size_chunk_;
    float *dh = g.h0 + static_cast<size_t>(b) * H_, *dx = g.x ? g.x + row(b) * D_ : nullptr;
    if (g.h_last) {
      std::memcpy(dh, g.h_last + static_cast<size_t>(b) * H_, sizeof(float) * H_);
    } else {
      std::memset(dh, 0, sizeof(float) * H_);
    }
    if (dx) std::memset(dx, 0, sizeof(float) * (s_.T + s_.window - 1) * D_);
    for (int t0 = (valid + steps_ - 1) / steps_ * steps_ - steps_; t0 >= 0; t0 -= steps_) {
      const int t1 = std::min(valid, t0 + steps_);
      products(b, t0, t1, packed, chunk);
      for (int t = t1 - 1; t >= t0; --t) {
        const float* before = t ? state(b, t - 1) : s_.h0 + static_cast<size_t>(b) * H_;
        Cell::backward({H_, chunk + static_cast<size_t>(t - t0) * Gs_, input(b, t), before, state(b, t),
                        g.y ? g.y + at(b, t) * H_ : zeros, s_.options, dh,
                        dx ? dx + static_cast<size_t>(t) * D_ : nullptr, own + options_at()});
      }
      sum_weights(b, t0, t1, chunk, own, packed_right);
      // One input of the window after the other, since neighbouring steps share all but one of them.
      for (int w = 0; dx && w < s_.window; ++w) {
        float* to = dx + static_cast<size_t>(t0 + w) * D_;
        multiply(t1 - t0, G_, D_, chunk, Gs_, packed_back + w * back_size(), to, D_, to, D_);
      }
    }
  }

  size_t back_size() const { return Scratch::rounded(static_cast<size_t>(G_) * padded(D_)); }

 private:
  int valid_steps(int b) const {
    return static_cast<int>(s_.lengths ? std::min(s_.T, std::max<int64_t>(0, s_.lengths[b])) : s_.T);
  }
  size_t at(int b, int t) const { return static_cast<size_t>(b) * s_.T + t; }
  size_t row(int b) const { return static_cast<size_t>(b) * (s_.T + s_.window - 1); }
  const float* input(int b, int t) const { return s_.x + (row(b) + t) * D_; }
  float* state(int b, int t) const { return s_.h + at(b, t) * H_; }

  void clear(float* y, int b, int valid) const {
    std::memset(y + at(b, valid) * H_, 0, sizeof(float) * (s_.T - valid) * H_);
  }

  void products(int b, int t0, int t1, const float* packed, float* chunk) const {
    // The rows of a window overlap: each begins D numbers behind the last.
    multiply(t1 - t0, K_, G_, input(b, t0), D_, packed, s_.bias, 0, chunk, Gs_);
  }

  void sum_weights(int b, int t0, int t1, const float* chunk, float* own, float* packed_right) const {
    const float* x[OUTER_STEPS];
    for (int from = t0; from < t1; from += OUTER_STEPS) {
      const int here = std::min(OUTER_STEPS, t1 - from);
      const float* left = chunk + static_cast<size_t>(from - t0) * Gs_;
      for (int k = 0; k < here; ++k) x[k] = input(b, from + k);
      add_outer(own, G_, K_, here, left, Gs_, x, packed_right);
      add_rows(own + bias_at(), G_, here, left, Gs_);
    }
  }

  const Gated& s_;
  const int D_, H_, G_, K_, Gs_, steps_;
  const size_t size_chunk_, size_weight_, size_bias_, size_options_;
};

template <class Cell>
int run_gated(const Gated& s, int threads) {
  const int B = s.B, K = s.window * s.D, G = Cell::GATES * s.H, parts = std::max(1, std::min(threads, B));
  const GatedPart<Cell> part(s);
  const size_t size = static_cast<size_t>(K) * padded(G), own = part.forward_size();
  Scratch scratch(Scratch::rounded(size) + parts * own);
  if (!scratch) return 1;
  float *packed = scratch.take(size), *rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    pack_share(packed, s.weight, K, G, 1, K, thread, num_threads);
    meet(num_threads);
    const Share rows(B, thread, num_threads);
    for (int b = rows.begin; b < rows.end; ++b) part.forward(b, packed, rest + thread * own);
  });
  return 0;
}

template <class Cell>
int run_gated_back(const Gated& s, const GatedGradients& g, int threads) {
  const int B = s.B, K = s.window * s.D, G = Cell::GATES * s.H, parts = std::max(1, std::min(threads, B));
  const GatedPart<Cell> part(s);
  const size_t size = static_cast<size_t>(K) * padded(G), own = part.backward_size();
  const size_t size_back = g.x ? s.window * part.back_size() : 0;
  Scratch scratch(Scratch::rounded(size) + size_back + parts * own);
  if (!scratch) return 1;
  float *packed = scratch.take(size), *packed_back = scratch.take(size_back), *rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    pack_share(packed, s.weight, K, G, 1, K, thread, num_threads);
    for (int w = 0; g.x && w < s.window; ++w) {
      pack_share(packed_back + w * part.back_size(), s.weight + w * s.D, G, s.D, K, 1, thread, num_threads);
    }
    meet(num_threads);
    float* sums = rest + thread * own;
    std::memset(sums, 0, sizeof(float) * own);
    const Share rows(B, thread, num_threads);
    for (int b = rows.begin; b < rows.end; ++b) part.backward(b, g, packed, packed_back, sums);
    meet(num_threads);
    const auto total = [&](float* to, size_t from, size_t count) {
      reduce(to, rest + from, own, count, num_threads, thread, num_threads);
    };
    total(g.weight, 0, static_cast<size_t>(G) * K);
    total(g.bias, part.bias_at(), G);
    total(g.options, part.options_at(), Cell::options(s.H));
  });
  return 0;
}
