// The time loop, forward.

#pragma once

#include "recurrence.h"

// Rows begin … end of the batch, which one thread takes through all steps.
template <class Cell>
class ForwardPart {
 public:
  // `most_rows` bounds the rows of any part, and with it the memory of one.
  ForwardPart(const Sequence& s, int most_rows)
      : s_(s), H_(s.H), G_(Cell::GATES * s.H), E_(Cell::extra(s.H)), Hp_(padded(H_)), Gp_(padded(G_)),
        C_(Cell::CELLS * s.H), Cp_(padded(C_)), steps_(chunk_steps(s.T, most_rows, G_)),
        size_state_(Scratch::rounded(static_cast<size_t>(most_rows) * Hp_)),
        size_cells_(Scratch::rounded(static_cast<size_t>(most_rows) * Cp_)),
        size_now_(Scratch::rounded(static_cast<size_t>(most_rows) * Gp_)),
        size_gates_(s.gates ? 0 : Scratch::rounded(static_cast<size_t>(most_rows) * steps_ * G_)) {}

  size_t scratch_size() const {
    return size_state_ + size_cells_ + size_now_ + size_gates_ + Scratch::rounded(E_);
  }

  void run(Share rows, const float* packed_x, const float* packed_h, float* scratch) {
    begin_ = rows.begin, R_ = rows.end - rows.begin;
    h_ = scratch, c_ = h_ + size_state_, now_ = c_ + size_cells_, own_gates_ = now_ + size_now_;
    own_extra_ = own_gates_ + size_gates_;
    for (int r = 0; r < R_; ++r) {
      std::memcpy(h_ + r * Hp_, s_.h0 + row(r) * H_, sizeof(float) * H_);
      if (s_.c0) std::memcpy(c_ + r * Cp_, s_.c0 + row(r) * C_, sizeof(float) * C_);
    }
    const int end = longest(s_, rows);
    for (int t0 = 0; t0 < end; t0 += steps_) {
      const int t1 = std::min(end, t0 + steps_);
      read_input(packed_x, t0, t1);
      for (int t = t0; t < t1; ++t) step(packed_h, t0, t);
    }
    finish();
  }

 private:
  size_t row(int r) const { return begin_ + r; }
  float* gates(int r, int t0, int t) const {
    if (s_.gates) return s_.gates + (row(r) * s_.T + t) * G_;
    return own_gates_ + (static_cast<size_t>(r) * steps_ + t - t0) * G_;
  }

  // The gates' share of the input, for a chunk of steps.
  void read_input(const float* packed, int t0, int t1) {
    for (int p = 0; p < num_panels(G_); ++p) {
      for (int r = 0; r < R_; ++r) {
        const int count = std::min(t1, valid_steps(s_, begin_ + r)) - t0;
        const float* x = s_.x + (row(r) * s_.T + t0) * s_.D;
        if (count > 0) multiply_panel(p, count, s_.D, G_, x, s_.D, 1, packed, s_.bias_x, 0, gates(r, t0, t0), G_);
      }
    }
  }

  void step(const float* packed, int t0, int t) {
    if constexpr (Cell::TWO_PRODUCTS) {
      multiply(R_, H_, 2 * H_, h_, Hp_, packed, s_.bias_h, 0, now_, Gp_);
      for_rows(t0, t, Cell::reset);  // into the place of c, which such a cell has not
      multiply(R_, H_, H_, c_, Cp_, packed + second_product(H_), nullptr, 0, now_ + 2 * H_, Gp_);
    } else {
      multiply(R_, H_, G_, h_, Hp_, packed, s_.bias_h, 0, now_, Gp_);
    }
    for_rows(t0, t, Cell::forward);
  }

  template <class Function>
  void for_rows(int t0, int t, Function function) {
    for (int r = 0; r < R_; ++r) {
      if (t >= valid_steps(s_, begin_ + r)) continue;
      const size_t at = row(r) * s_.T + t;
      float* extra = s_.extra ? s_.extra + at * E_ : own_extra_;
      function({H_, row(r), static_cast<size_t>(t), gates(r, t0, t), now_ + r * Gp_, h_ + r * Hp_, c_ + r * Cp_, extra,
                s_.y + at * H_},
               s_);
    }
  }

  void finish() {
    for (int r = 0; r < R_; ++r) {
      const int valid = valid_steps(s_, begin_ + r);
      std::memset(s_.y + (row(r) * s_.T + valid) * H_, 0, sizeof(float) * (s_.T - valid) * H_);
      std::memcpy(s_.h_last + row(r) * H_, h_ + r * Hp_, sizeof(float) * H_);
      if (s_.c_last) std::memcpy(s_.c_last + row(r) * C_, c_ + r * Cp_, sizeof(float) * C_);
    }
  }

  const Sequence& s_;
  const int H_, G_, E_, Hp_, Gp_, C_, Cp_, steps_;
  const size_t size_state_, size_cells_, size_now_, size_gates_;
  int begin_ = 0, R_ = 0;
  float *h_ = nullptr, *c_ = nullptr, *now_ = nullptr, *own_gates_ = nullptr, *own_extra_ = nullptr;
};

template <class Cell>
int run_forward(const Sequence& s, int threads) {
  const int B = s.B, D = s.D, H = s.H, G = Cell::GATES * H, parts = std::max(1, std::min(threads, B));
  const ForwardPart<Cell> empty(s, ceil_div(B, parts));
  const size_t size_x = static_cast<size_t>(D) * padded(G), own = empty.scratch_size();
  const size_t size_h = Cell::TWO_PRODUCTS ? second_product(H) + second_product(H) : static_cast<size_t>(H) * padded(G);
  Scratch scratch(Scratch::rounded(size_x) + Scratch::rounded(size_h) + parts * own);
  if (!scratch) return 1;
  float *packed_x = scratch.take(size_x), *packed_h = scratch.take(size_h), *rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    pack_share(packed_x, s.weight_x, D, G, 1, D, thread, num_threads);
    pack_share(packed_h, s.weight_h, H, Cell::TWO_PRODUCTS ? 2 * H : G, 1, H, thread, num_threads);
    if (Cell::TWO_PRODUCTS) {
      pack_share(packed_h + second_product(H), s.weight_h + 2 * H * H, H, H, 1, H, thread, num_threads);
    }
    meet(num_threads);
    // There may be fewer threads than were asked for.
    for (int i = thread; i < parts; i += num_threads) {
      ForwardPart<Cell>(empty).run(Share(B, i, parts), packed_x, packed_h, rest + i * own);
    }
  });
  return 0;
}
