// The time loop, backward, with all gradients.

#pragma once

#include "recurrence.h"

// Adds Σ_k left_k ⊗ right_k to `to` (M × N), over `count` <= OUTER_STEPS rows of `left`, which lie left_row apart.
inline void add_outer(float* to, int M, int N, int count, const float* left, ptrdiff_t left_row,
                      const float* const* right, float* packed) {
  const int blocks = ceil_div(M, TILE_ROWS);
  for (int p = 0; p < num_panels(N); ++p) {
    const int first = panel_start(N, p) * LANES, vectors = panel_start(N, p + 1) - panel_start(N, p);
    const int width = vectors * LANES, valid = std::min(width, N - first), last = valid - (vectors - 1) * LANES;
    float* at = packed;
    for (int k = 0; k < count; ++k, at += width) {
      std::memcpy(at, right[k] + first, sizeof(float) * valid);
      for (int j = valid; j < width; ++j) at[j] = 0;
    }
    for (int block = 0; block < blocks; ++block) {
      const int i = M * block / blocks, rows = M * (block + 1) / blocks - i;
      float* c = to + static_cast<size_t>(i) * N + first;
      tile_for(rows, vectors)(count, left + i, 1, left_row, packed, c, N, c, N, last);
    }
  }
}

inline void add_rows(float* to, int M, int count, const float* left, ptrdiff_t left_row) {
  over(M, [&](int j, auto n) {
    Vec total = load(to + j, n);
    for (int k = 0; k < count; ++k) total += load(left + k * left_row + j, n);
    store(to + j, total, n);
  });
}

// Where the parts of one thread's sums lie: weight_x (G·D), weight_h (G·H), bias_x (G), bias_h (G), options.
struct Sums {
  size_t x, h, bias_x, bias_h, options, size;
  Sums(size_t G, size_t D, size_t H, size_t num_options)
      : x(0), h(Scratch::rounded(G * D)), bias_x(h + Scratch::rounded(G * H)), bias_h(bias_x + Scratch::rounded(G)),
        options(bias_h + Scratch::rounded(G)), size(options + Scratch::rounded(num_options)) {}
};

// Adds the threads' sums in their order, which fixes the bits for a number of threads.
inline void reduce(float* to, const float* sums, size_t stride, size_t count, int parts, int thread, int num_threads) {
  if (!to) return;
  const size_t begin = count * thread / num_threads, end = count * (thread + 1) / num_threads;
  std::memcpy(to + begin, sums + begin, sizeof(float) * (end - begin));
  for (int part = 1; part < parts; ++part) {
    const float* from = sums + part * stride;
    for (size_t i = begin; i < end; ++i) to[i] += from[i];
  }
}

template <class Cell>
class BackwardPart {
 public:
  BackwardPart(const Sequence& s, const Gradients& g, int most_rows)
      : s_(s), g_(g), D_(s.D), H_(s.H), G_(Cell::GATES * s.H), E_(Cell::extra(s.H)), Hp_(padded(H_)),
        Gp_(padded(G_)), Gs_(spread(G_)), C_(Cell::CELLS * s.H), Cp_(padded(C_)),
        steps_(chunk_steps(s.T, most_rows, G_)), sums_(G_, D_, H_, Cell::options(H_)),
        size_state_(Scratch::rounded(static_cast<size_t>(most_rows) * Hp_)),
        size_cells_(Scratch::rounded(static_cast<size_t>(most_rows) * Cp_)),
        size_now_(Scratch::rounded(static_cast<size_t>(most_rows) * Gp_)),
        size_chunk_(Scratch::rounded(static_cast<size_t>(most_rows) * steps_ * Gs_)),
        size_firsts_(Scratch::rounded(most_rows + 1)) {}

  const Sums& sums() const { return sums_; }
  size_t scratch_size() const {
    return sums_.size + size_state_ + size_cells_ + size_now_ + 2 * size_chunk_ + size_firsts_ +
           OUTER_STEPS * LANES * TILE_VECTORS + Scratch::rounded(H_);
  }

  void run(Share rows, const float* packed_x, const float* packed_h, float* scratch) {
    begin_ = rows.begin, R_ = rows.end - rows.begin;
    own_ = scratch, dh_ = own_ + sums_.size, dc_ = dh_ + size_state_, zeros_ = dc_ + size_cells_;
    now_ = zeros_ + Scratch::rounded(H_), chunk_ = now_ + size_now_, other_chunk_ = chunk_ + size_chunk_;
    packed_right_ = other_chunk_ + size_chunk_;
    firsts_ = reinterpret_cast<int*>(packed_right_ + OUTER_STEPS * LANES * TILE_VECTORS);
    std::memset(own_, 0, sizeof(float) * (now_ - own_));
    for (int r = 0; r < R_; ++r) {
      if (g_.h_last) std::memcpy(dh_ + r * Hp_, g_.h_last + row(r) * H_, sizeof(float) * H_);
      if (g_.c_last) std::memcpy(dc_ + r * Cp_, g_.c_last + row(r) * C_, sizeof(float) * C_);
    }
    const int end = longest(s_, rows);
    for (int t0 = (end + steps_ - 1) / steps_ * steps_ - steps_; t0 >= 0; t0 -= steps_) {
      const int t1 = std::min(end, t0 + steps_);
      // The valid steps of the chunk lie side by side, row after row, so that one product can run over them.
      firsts_[0] = 0;
      for (int r = 0; r < R_; ++r) firsts_[r + 1] = firsts_[r] + std::max(0, std::min(t1, valid(r)) - t0);
      for (int t = t1 - 1; t >= t0; --t) step(packed_h, t0, t);
      sum_weights(t0);
      write_input(packed_x, t0);
    }
    finish();
  }

 private:
  size_t row(int r) const { return begin_ + r; }
  int valid(int r) const { return valid_steps(s_, begin_ + r); }

  void step(const float* packed, int t0, int t) {
    if constexpr (Cell::TWO_PRODUCTS) {
      for_rows(t0, t, Cell::backward_fresh);
      multiply(R_, H_, H_, now_ + 2 * H_, Gp_, packed + second_product(H_), nullptr, 0, dc_, Cp_);
      for_rows(t0, t, Cell::backward);
      multiply(R_, 2 * H_, H_, now_, Gp_, packed, dh_, Hp_, dh_, Hp_);
    } else {
      for_rows(t0, t, Cell::backward);
      multiply(R_, G_, H_, now_, Gp_, packed, dh_, Hp_, dh_, Hp_);
    }
  }

  template <class Function>
  void for_rows(int t0, int t, Function function) {
    for (int r = 0; r < R_; ++r) {
      float* now = now_ + r * Gp_;
      if (t >= valid(r)) {
        std::memset(now, 0, sizeof(float) * G_);
        continue;
      }
      const size_t at = row(r) * s_.T + t, here = static_cast<size_t>(firsts_[r] + t - t0) * Gs_;
      function({H_, row(r), static_cast<size_t>(t), g_.y ? g_.y + at * H_ : zeros_, s_.gates + at * G_,
                s_.extra + at * E_, h_before(r, t),
                t ? s_.extra + (at - 1) * E_ : s_.c0 + row(r) * C_, s_.y + at * H_, dh_ + r * Hp_, dc_ + r * Cp_,
                chunk_ + here, now, other_chunk_ + here, own_ + sums_.options},
               s_);
    }
  }

  const float* h_before(int r, int t) const { return t ? s_.y + (row(r) * s_.T + t - 1) * H_ : s_.h0 + row(r) * H_; }

  // Adds what the steps of a chunk give to the gradients of all weights.
  void sum_weights(int t0) {
    const float *x[OUTER_STEPS], *h[OUTER_STEPS];
    const float* left_h = Cell::SAME ? chunk_ : other_chunk_;
    const int count = firsts_[R_];
    for (int from = 0, r = 0; from < count; from += OUTER_STEPS) {
      const int here = std::min(OUTER_STEPS, count - from);
      const size_t at = static_cast<size_t>(from) * Gs_;
      for (int k = 0; k < here; ++k) {
        while (from + k >= firsts_[r + 1]) ++r;
        const int t = t0 + from + k - firsts_[r];
        x[k] = s_.x + (row(r) * s_.T + t) * D_;
        h[k] = h_before(r, t);
      }
      add_outer(own_ + sums_.x, G_, D_, here, chunk_ + at, Gs_, x, packed_right_);
      add_rows(own_ + sums_.bias_x, G_, here, chunk_ + at, Gs_);
      if constexpr (Cell::TWO_PRODUCTS) {
        add_outer(own_ + sums_.h, 2 * H_, H_, here, chunk_ + at, Gs_, h, packed_right_);
        for (int k = 0; k < here; ++k) h[k] = other_chunk_ + at + static_cast<size_t>(k) * Gs_;
        add_outer(own_ + sums_.h + 2 * H_ * H_, H_, H_, here, chunk_ + at + 2 * H_, Gs_, h, packed_right_);
      } else {
        add_outer(own_ + sums_.h, G_, H_, here, left_h + at, Gs_, h, packed_right_);
        if (!Cell::SAME) add_rows(own_ + sums_.bias_h, G_, here, left_h + at, Gs_);
      }
    }
  }

  void write_input(const float* packed, int t0) {
    for (int p = 0; g_.x && p < num_panels(D_); ++p) {
      for (int r = 0; r < R_; ++r) {
        const int count = firsts_[r + 1] - firsts_[r];
        const float* from = chunk_ + static_cast<size_t>(firsts_[r]) * Gs_;
        float* dx = g_.x + (row(r) * s_.T + t0) * D_;
        if (count) multiply_panel(p, count, G_, D_, from, Gs_, 1, packed, nullptr, 0, dx, D_);
      }
    }
  }

  void finish() {
    for (int r = 0; r < R_; ++r) {
      if (g_.x) std::memset(g_.x + (row(r) * s_.T + valid(r)) * D_, 0, sizeof(float) * (s_.T - valid(r)) * D_);
      std::memcpy(g_.h0 + row(r) * H_, dh_ + r * Hp_, sizeof(float) * H_);
      if (g_.c0) std::memcpy(g_.c0 + row(r) * C_, dc_ + r * Cp_, sizeof(float) * C_);
    }
  }

  const Sequence& s_;
  const Gradients& g_;
  const int D_, H_, G_, E_, Hp_, Gp_, Gs_, C_, Cp_, steps_;
  const Sums sums_;
  const size_t size_state_, size_cells_, size_now_, size_chunk_, size_firsts_;
  int begin_ = 0, R_ = 0;
  float *own_ = nullptr, *dh_ = nullptr, *dc_ = nullptr, *zeros_ = nullptr, *now_ = nullptr, *chunk_ = nullptr;
  float *other_chunk_ = nullptr, *packed_right_ = nullptr;
  int* firsts_ = nullptr;
};

template <class Cell>
int run_backward(const Sequence& s, const Gradients& g, int threads) {
  const int B = s.B, D = s.D, H = s.H, G = Cell::GATES * H, parts = std::max(1, std::min(threads, B));
  const BackwardPart<Cell> empty(s, g, ceil_div(B, parts));
  const Sums& sums = empty.sums();
  const size_t size_x = g.x ? static_cast<size_t>(G) * padded(D) : 0, own = empty.scratch_size();
  const size_t size_h = Cell::TWO_PRODUCTS ? 2 * second_product(H) : static_cast<size_t>(G) * padded(H);
  Scratch scratch(Scratch::rounded(size_x) + Scratch::rounded(size_h) + parts * own);
  if (!scratch) return 1;
  float *packed_x = scratch.take(size_x), *packed_h = scratch.take(size_h), *rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    if (g.x) pack_share(packed_x, s.weight_x, G, D, D, 1, thread, num_threads);
    pack_share(packed_h, s.weight_h, Cell::TWO_PRODUCTS ? 2 * H : G, H, H, 1, thread, num_threads);
    if (Cell::TWO_PRODUCTS) {
      pack_share(packed_h + second_product(H), s.weight_h + 2 * H * H, H, H, H, 1, thread, num_threads);
    }
    meet(num_threads);
    for (int i = thread; i < parts; i += num_threads) {
      BackwardPart<Cell>(empty).run(Share(B, i, parts), packed_x, packed_h, rest + i * own);
    }
    meet(num_threads);
    const auto total = [&](float* to, size_t from, size_t count) {
      reduce(to, rest + from, own, count, parts, thread, num_threads);
    };
    total(g.weight_x, sums.x, static_cast<size_t>(G) * D);
    total(g.bias_x, sums.bias_x, G);
    total(g.weight_h, sums.h, static_cast<size_t>(G) * H);
    total(g.bias_h, Cell::SAME ? sums.bias_x : sums.bias_h, G);
    total(g.options, sums.options, Cell::options(H));
  });
  return 0;
}
