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
      const int i = block_start(M, block, blocks), rows = block_start(M, block + 1, blocks) - i;
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

// Where the parts of one thread's sums lie, and how long they are.
struct Sums {
  size_t num_x, num_h, num_bias_x, num_bias_h, num_projection, num_options;
  size_t x, h, bias_x, bias_h, projection, options, size;
  template <class Cell>
  Sums(const Sequence& s, Cell)
      : num_x(static_cast<size_t>(Cell::GATES * s.H) * s.D),
        num_h(static_cast<size_t>(Cell::READS_CELL || Cell::SKIPS ? 2 : 1) * recurrent_width<Cell>(s) * s.P),
        num_bias_x(Cell::GATES * s.H), num_bias_h(recurrent_width<Cell>(s)),
        num_projection(Cell::PROJECTED ? static_cast<size_t>(s.P) * s.H : 0), num_options(Cell::options(s.H)), x(0),
        h(Scratch::rounded(num_x)), bias_x(h + Scratch::rounded(num_h)), bias_h(bias_x + Scratch::rounded(num_bias_x)),
        projection(bias_h + Scratch::rounded(num_bias_h)), options(projection + Scratch::rounded(num_projection)),
        size(options + Scratch::rounded(num_options)) {}
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
      : s_(s), g_(g), D_(s.D), H_(s.H), P_(s.P), G_(Cell::GATES * s.H), Q_(recurrent_width<Cell>(s)),
        E_(Cell::extra(s.H)), C_(Cell::CELLS * s.H), steps_(chunk_steps(s.T, most_rows, G_)), Hp_(padded(H_)),
        Pp_(padded(P_)), Qp_(padded(Q_)), Cp_(padded(C_)), Gs_(spread(G_)), Ps_(spread(P_)), sums_(s, Cell{}),
        num_cells_(Cell::SKIPS ? s.skip : 1), second_(first_factor<Cell>(s).transposed().size()),
        size_state_(Scratch::rounded(static_cast<size_t>(most_rows) * Pp_)),
        size_cells_(Scratch::rounded(static_cast<size_t>(most_rows) * Cp_)),
        size_now_(Scratch::rounded(static_cast<size_t>(most_rows) * Qp_)),
        size_chunk_(Scratch::rounded(static_cast<size_t>(most_rows) * steps_ * Gs_)),
        size_shown_(Cell::PROJECTED ? Scratch::rounded(static_cast<size_t>(most_rows) * Hp_) : 0),
        size_given_(Cell::PROJECTED ? Scratch::rounded(static_cast<size_t>(most_rows) * steps_ * Ps_) : 0),
        size_firsts_(Scratch::rounded(most_rows + 1)) {}

  const Sums& sums() const { return sums_; }
  size_t scratch_size() const {
    return sums_.size + size_state_ + num_cells_ * size_cells_ + size_now_ + 2 * size_chunk_ + size_shown_ + size_given_ +
           size_firsts_ + OUTER_STEPS * LANES * TILE_VECTORS + Scratch::rounded(H_);
  }

  void run(Share rows, const float* packed_x, const float* packed_h, float* scratch) {
    begin_ = rows.begin, R_ = rows.end - rows.begin;
    own_ = scratch, dh_ = own_ + sums_.size, dc_ = dh_ + size_state_, zeros_ = dc_ + num_cells_ * size_cells_;
    now_ = zeros_ + Scratch::rounded(H_), chunk_ = now_ + size_now_, other_chunk_ = chunk_ + size_chunk_;
    shown_ = other_chunk_ + size_chunk_, given_ = shown_ + size_shown_;
    packed_right_ = given_ + size_given_;
    firsts_ = reinterpret_cast<int*>(packed_right_ + OUTER_STEPS * LANES * TILE_VECTORS);
    std::memset(own_, 0, sizeof(float) * (now_ - own_));
    for (int r = 0; r < R_; ++r) {
      if (g_.h_last) std::memcpy(dh_ + r * Pp_, g_.h_last + row(r) * P_, sizeof(float) * P_);
      for (int k = 0; g_.c_last && k < num_cells_; ++k) {
        const float* from = g_.c_last + (row(r) * num_cells_ + k) * C_;
        std::memcpy(dc(r, Cell::SKIPS ? valid(r) + k : 0), from, sizeof(float) * C_);
      }
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

  // Of a cell that skips, step t and that of `skip` steps ago meet in one place: what the one adds, the other uses up.
  float* dc(int r, int t) const { return dc_ + (Cell::SKIPS ? t % num_cells_ : 0) * size_cells_ + r * Cp_; }

  void step(const float* packed, int t0, int t) {
    const float* second = packed + second_;
    if constexpr (Cell::TWO_PRODUCTS) {
      for_rows(t0, t, Cell::backward_fresh);
      multiply(R_, H_, H_, now_ + 2 * H_, Qp_, second, nullptr, 0, dc_, Cp_);
      for_rows(t0, t, Cell::backward);
      multiply(R_, 2 * H_, H_, now_, Qp_, packed, dh_, Pp_, dh_, Pp_);
      return;
    }
    if constexpr (Cell::PROJECTED) back_through_projection(second, t0, t);
    for_rows(t0, t, Cell::backward);
    multiply(R_, Q_, P_, now_, Qp_, packed, dh_, Pp_, dh_, Pp_);
    if constexpr (Cell::READS_CELL || Cell::SKIPS) {
      multiply(R_, Q_, H_, now_, Qp_, second, dc(0, t), Cp_, dc(0, t), Cp_);
    }
  }

  // From the gradient of h, which is used up and kept in given_, to that of what was projected, in shown_.
  void back_through_projection(const float* packed, int t0, int t) {
    for (int r = 0; r < R_; ++r) {
      float *now = now_ + r * Qp_, *dh = dh_ + r * Pp_;
      if (t >= valid(r)) {
        std::memset(now, 0, sizeof(float) * P_);
        continue;
      }
      float* given = given_ + static_cast<size_t>(firsts_[r] + t - t0) * Ps_;
      const float* dy = g_.y ? g_.y + (row(r) * s_.T + t) * P_ : nullptr;
      over(P_, [&](int j, auto n) {
        const Vec d = dy ? load(dh + j, n) + load(dy + j, n) : load(dh + j, n);
        store(given + j, d, n);
        store(now + j, d, n);
        store(dh + j, Vec{}, n);
      });
    }
    multiply(R_, P_, H_, now_, Qp_, packed, nullptr, 0, shown_, Hp_);
  }

  template <class Function>
  void for_rows(int t0, int t, Function function) {
    for (int r = 0; r < R_; ++r) {
      float* now = now_ + r * Qp_;
      if (t >= valid(r)) {
        std::memset(now, 0, sizeof(float) * Q_);
        continue;
      }
      const size_t at = row(r) * s_.T + t, here = static_cast<size_t>(firsts_[r] + t - t0) * Gs_;
      float* dh = Cell::PROJECTED ? shown_ + r * Hp_ : dh_ + r * Pp_;
      function({H_, row(r), static_cast<size_t>(t), g_.y && !Cell::PROJECTED ? g_.y + at * H_ : zeros_,
                s_.gates + at * G_, s_.extra + at * E_, h_before(r, t), c_before(r, t), s_.y + at * P_, dh,
                dc(r, t), chunk_ + here, now, other_chunk_ + here, own_ + sums_.options},
               s_);
    }
  }

  const float* h_before(int r, int t) const { return t ? s_.y + (row(r) * s_.T + t - 1) * P_ : s_.h0 + row(r) * P_; }
  const float* c_before(int r, int t) const {
    return t ? s_.extra + (row(r) * s_.T + t - 1) * E_ : s_.c0 + row(r) * C_;
  }

  // Adds what the steps of a chunk give to the gradients of all weights.
  void sum_weights(int t0) {
    const float *x[OUTER_STEPS], *h[OUTER_STEPS], *other[OUTER_STEPS];
    const float* left_h = Cell::SAME ? chunk_ : other_chunk_;
    const int count = firsts_[R_];
    for (int from = 0, r = 0; from < count; from += OUTER_STEPS) {
      const int here = std::min(OUTER_STEPS, count - from);
      const size_t at = static_cast<size_t>(from) * Gs_;
      for (int k = 0; k < here; ++k) {
        while (from + k >= firsts_[r + 1]) ++r;
        const int t = t0 + from + k - firsts_[r];
        const size_t step = row(r) * s_.T + t;
        x[k] = s_.x + step * D_;
        h[k] = h_before(r, t);
        if (Cell::TWO_PRODUCTS) other[k] = other_chunk_ + at + static_cast<size_t>(k) * Gs_;
        if (Cell::READS_CELL) other[k] = c_before(r, t);
        if (Cell::SKIPS) other[k] = skipped(s_, row(r), t);
        if (Cell::PROJECTED) other[k] = s_.extra + step * E_ + C_;
      }
      float* sum_h = own_ + sums_.h;
      add_outer(own_ + sums_.x, G_, D_, here, chunk_ + at, Gs_, x, packed_right_);
      add_rows(own_ + sums_.bias_x, G_, here, chunk_ + at, Gs_);
      if constexpr (Cell::TWO_PRODUCTS) {
        add_outer(sum_h, 2 * H_, H_, here, chunk_ + at, Gs_, h, packed_right_);
        add_outer(sum_h + static_cast<size_t>(2 * H_) * H_, H_, H_, here, chunk_ + at + 2 * H_, Gs_, other,
                  packed_right_);
        continue;
      }
      add_outer(sum_h, Q_, P_, here, left_h + at, Gs_, h, packed_right_);
      if constexpr (!Cell::SAME) add_rows(own_ + sums_.bias_h, Q_, here, left_h + at, Gs_);
      if constexpr (Cell::READS_CELL || Cell::SKIPS) {
        add_outer(sum_h + static_cast<size_t>(Q_) * P_, Q_, H_, here, left_h + at, Gs_, other, packed_right_);
      }
      if constexpr (Cell::PROJECTED) {
        const float* given = given_ + static_cast<size_t>(from) * Ps_;
        add_outer(own_ + sums_.projection, P_, H_, here, given, Ps_, other, packed_right_);
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
      std::memcpy(g_.h0 + row(r) * P_, dh_ + r * Pp_, sizeof(float) * P_);
      for (int k = 0; g_.c0 && k < num_cells_; ++k) {
        std::memcpy(g_.c0 + (row(r) * num_cells_ + k) * C_, dc(r, k), sizeof(float) * C_);
      }
    }
  }

  const Sequence& s_;
  const Gradients& g_;
  const int D_, H_, P_, G_, Q_, E_, C_, steps_;
  const ptrdiff_t Hp_, Pp_, Qp_, Cp_, Gs_, Ps_;  // distances of rows
  const Sums sums_;
  const int num_cells_;
  const size_t second_;  // where the second factor begins
  const size_t size_state_, size_cells_, size_now_, size_chunk_, size_shown_, size_given_, size_firsts_;
  int begin_ = 0, R_ = 0;
  float *own_ = nullptr, *dh_ = nullptr, *dc_ = nullptr, *zeros_ = nullptr, *now_ = nullptr, *chunk_ = nullptr;
  float *other_chunk_ = nullptr, *shown_ = nullptr, *given_ = nullptr, *packed_right_ = nullptr;
  int* firsts_ = nullptr;
};

template <class Cell>
int run_backward(const Sequence& s, const Gradients& g, int threads) {
  const int B = s.B, D = s.D, G = Cell::GATES * s.H, parts = std::max(1, std::min(threads, B));
  const BackwardPart<Cell> empty(s, g, ceil_div(B, parts));
  const Sums& sums = empty.sums();
  const Factor input{s.weight_x, G, g.x ? D : 0, D, 1}, first = first_factor<Cell>(s).transposed();
  const Factor second = second_factor<Cell>(s).transposed();
  const size_t own = empty.scratch_size();
  Scratch scratch(input.size() + first.size() + second.size() + parts * own);
  if (!scratch) return 1;
  float *packed_x = scratch.take(input.size()), *packed_h = scratch.take(first.size() + second.size());
  float* rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    input.pack(packed_x, thread, num_threads);
    first.pack(packed_h, thread, num_threads);
    second.pack(packed_h + first.size(), thread, num_threads);
    meet(num_threads);
    for (int i = thread; i < parts; i += num_threads) {
      BackwardPart<Cell>(empty).run(Share(B, i, parts), packed_x, packed_h, rest + i * own);
    }
    meet(num_threads);
    const auto total = [&](float* to, size_t from, size_t count) {
      reduce(to, rest + from, own, count, parts, thread, num_threads);
    };
    total(g.weight_x, sums.x, sums.num_x);
    total(g.bias_x, sums.bias_x, sums.num_bias_x);
    total(g.weight_h, sums.h, sums.num_h);
    total(g.bias_h, Cell::SAME ? sums.bias_x : sums.bias_h, sums.num_bias_h);
    total(g.projection, sums.projection, sums.num_projection);
    total(g.options, sums.options, sums.num_options);
  });
  return 0;
}
