// The time loop, forward.

#pragma once

#include "recurrence.h"

// Rows begin … end of the batch, which one thread takes through all steps.
template <class Cell>
class ForwardPart {
 public:
  // `most_rows` bounds the rows of any part, and with it the memory of one.
  ForwardPart(const Sequence& s, int most_rows)
      : s_(s), H_(s.H), P_(s.P), G_(Cell::GATES * s.H), Q_(recurrent_width<Cell>(s)), E_(Cell::extra(s.H)),
        C_(Cell::CELLS * s.H), steps_(chunk_steps(s.T, most_rows, G_)), Hp_(padded(H_)), Pp_(padded(P_)),
        Qp_(padded(Q_)), Cp_(padded(C_)), second_(first_factor<Cell>(s).size()),
        size_state_(Scratch::rounded(static_cast<size_t>(most_rows) * Pp_)),
        size_cells_(Scratch::rounded(static_cast<size_t>(most_rows) * Cp_)),
        size_now_(Scratch::rounded(static_cast<size_t>(most_rows) * Qp_)),
        size_shown_(Cell::PROJECTED ? Scratch::rounded(static_cast<size_t>(most_rows) * Hp_) : 0),
        size_gates_(s.gates ? 0 : Scratch::rounded(static_cast<size_t>(most_rows) * steps_ * G_)) {}

  size_t scratch_size() const {
    return size_state_ + size_cells_ + size_now_ + size_shown_ + size_gates_ + Scratch::rounded(E_);
  }

  void run(Share rows, const float* packed_x, const float* packed_h, float* scratch) {
    begin_ = rows.begin, R_ = rows.end - rows.begin;
    h_ = scratch, c_ = h_ + size_state_, now_ = c_ + size_cells_, shown_ = now_ + size_now_;
    own_gates_ = shown_ + size_shown_, own_extra_ = own_gates_ + size_gates_;
    for (int r = 0; r < R_; ++r) {
      std::memcpy(h_ + r * Pp_, s_.h0 + row(r) * P_, sizeof(float) * P_);
      if (s_.c0 && !Cell::SKIPS) std::memcpy(c_ + r * Cp_, s_.c0 + row(r) * C_, sizeof(float) * C_);
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
    const float* second = packed + second_;
    if constexpr (Cell::TWO_PRODUCTS) {
      multiply(R_, H_, 2 * H_, h_, Pp_, packed, s_.bias_h, 0, now_, Qp_);
      for_rows(t0, t, Cell::reset);  // into the place of c, which such a cell has not
      multiply(R_, H_, H_, c_, Cp_, second, nullptr, 0, now_ + 2 * H_, Qp_);
    } else {
      multiply(R_, P_, Q_, h_, Pp_, packed, s_.bias_h, 0, now_, Qp_);
    }
    if constexpr (Cell::READS_CELL) multiply(R_, H_, Q_, c_, Cp_, second, now_, Qp_, now_, Qp_);
    if constexpr (Cell::SKIPS) {
      // What rows that have ended read there does not matter.
      multiply(R_, H_, Q_, skipped(s_, row(0), t), (t < s_.skip ? s_.skip : s_.T) * H_, second, now_, Qp_, now_, Qp_);
    }
    for_rows(t0, t, Cell::forward);
    if constexpr (Cell::PROJECTED) {
      multiply(R_, H_, P_, shown_, Hp_, second, nullptr, 0, now_, Qp_);
      for (int r = 0; r < R_; ++r) {
        if (t >= valid_steps(s_, begin_ + r)) continue;
        std::memcpy(h_ + r * Pp_, now_ + r * Qp_, sizeof(float) * P_);
        std::memcpy(s_.y + (row(r) * s_.T + t) * P_, now_ + r * Qp_, sizeof(float) * P_);
      }
    }
  }

  template <class Function>
  void for_rows(int t0, int t, Function function) {
    for (int r = 0; r < R_; ++r) {
      if (t >= valid_steps(s_, begin_ + r)) continue;
      const size_t at = row(r) * s_.T + t;
      float* extra = s_.extra ? s_.extra + at * E_ : own_extra_;
      float* h = Cell::PROJECTED ? shown_ + r * Hp_ : h_ + r * Pp_;
      function({H_, row(r), static_cast<size_t>(t), gates(r, t0, t), now_ + r * Qp_, h, c_ + r * Cp_, extra,
                Cell::PROJECTED ? extra + C_ : s_.y + at * H_},
               s_);
    }
  }

  void finish() {
    for (int r = 0; r < R_; ++r) {
      const int valid = valid_steps(s_, begin_ + r);
      std::memset(s_.y + (row(r) * s_.T + valid) * P_, 0, sizeof(float) * (s_.T - valid) * P_);
      std::memcpy(s_.h_last + row(r) * P_, h_ + r * Pp_, sizeof(float) * P_);
      if (s_.c_last && !Cell::SKIPS) std::memcpy(s_.c_last + row(r) * C_, c_ + r * Cp_, sizeof(float) * C_);
      for (int k = 0; Cell::SKIPS && k < s_.skip; ++k) {
        float* to = s_.c_last + (row(r) * s_.skip + k) * H_;
        std::memcpy(to, skipped(s_, row(r), valid + k), sizeof(float) * H_);
      }
    }
  }

  const Sequence& s_;
  const int H_, P_, G_, Q_, E_, C_, steps_;
  const ptrdiff_t Hp_, Pp_, Qp_, Cp_;  // distances of rows
  const size_t second_;  // where the second factor begins
  const size_t size_state_, size_cells_, size_now_, size_shown_, size_gates_;
  int begin_ = 0, R_ = 0;
  float *h_ = nullptr, *c_ = nullptr, *now_ = nullptr, *shown_ = nullptr, *own_gates_ = nullptr, *own_extra_ = nullptr;
};

template <class Cell>
int run_forward(const Sequence& s, int threads) {
  const int B = s.B, D = s.D, G = Cell::GATES * s.H, parts = std::max(1, std::min(threads, B));
  const ForwardPart<Cell> empty(s, ceil_div(B, parts));
  const Factor input{s.weight_x, D, G, 1, D}, first = first_factor<Cell>(s), second = second_factor<Cell>(s);
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
    // There may be fewer threads than were asked for.
    for (int i = thread; i < parts; i += num_threads) {
      ForwardPart<Cell>(empty).run(Share(B, i, parts), packed_x, packed_h, rest + i * own);
    }
  });
  return 0;
}
