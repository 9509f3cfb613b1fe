// The linear recurrent unit, forward and backward, from input to output.
//
// A row of the batch goes through all its products chunk by chunk of time, so that whatever lies between input and
// output stays in a core's cache. Only the state before each chunk is kept; the backward pass runs a chunk once more.

#pragma once

#include "lru_parts.h"

template <bool COMPLEX>
class LruPart {
 public:
  LruPart(const Lru& s, const float* packed)
      : s_(s), D_(s.D), H_(s.H), P_(COMPLEX ? 2 * s.H : s.H), Ps_(spread(P_)), Hs_(spread(H_)), Gs_(spread(2 * H_)),
        steps_(s.chunk), chunks_(ceil_div(s.T, s.chunk)), factors_(D_, H_, P_), sums_(D_, H_, P_), packed_(packed) {}

  static size_t forward_size(const Lru& s) { return LruPart(s, nullptr).chunk_size() + Scratch::rounded(2 * s.H); }
  static size_t backward_size(const Lru& s) {
    const LruPart part(s, nullptr);
    return part.sums_.size + part.chunk_size() + part.rows(part.Hs_) + part.rows(part.Ps_) + Scratch::rounded(2 * s.H) +
           OUTER_STEPS * LANES * TILE_VECTORS;
  }
  const LruSums& sums() const { return sums_; }

  void forward(int b, float* scratch) {
    place(scratch);
    float* state = scratch + chunk_size();
    const int valid = valid_steps(b);
    std::memcpy(state, s_.s0 + at(b) * P_, sizeof(float) * P_);
    for (int t0 = 0; t0 < valid; t0 += steps_) {
      const int n = std::min(valid - t0, steps_);
      std::memcpy(start(b, t0), state, sizeof(float) * P_);
      run_chunk(b, t0, n, state);
      for (int k = 0; k < n; ++k) {
        const float* g = g_ + k * Gs_;
        float* y = s_.y + (at(b) * s_.T + t0 + k) * H_;
        over(H_, [&](int j, auto e) { store(y + j, load(g + j, e) * sigmoid(load(g + H_ + j, e)), e); });
      }
      std::memcpy(state, states_ + (n - 1) * Ps_, sizeof(float) * P_);
    }
    std::memcpy(s_.s_last + at(b) * P_, state, sizeof(float) * P_);
    std::memset(s_.y + (at(b) * s_.T + valid) * H_, 0, sizeof(float) * (s_.T - valid) * H_);
  }

  // Adds to the sums that `own` begins with.
  void backward(int b, const LruGradients& g, float* own) {
    own_ = own;
    place(own + sums_.size);
    du_ = own + sums_.size + chunk_size(), ds_ = du_ + rows(Hs_), carry_ = ds_ + rows(Ps_);
    packed_right_ = carry_ + Scratch::rounded(2 * H_);
    const int valid = valid_steps(b);
    if (g.s_last) {
      std::memcpy(carry_, g.s_last + at(b) * P_, sizeof(float) * P_);
    } else {
      std::memset(carry_, 0, sizeof(float) * P_);
    }
    for (int t0 = (valid + steps_ - 1) / steps_ * steps_ - steps_; t0 >= 0; t0 -= steps_) {
      const int n = std::min(valid - t0, steps_);
      run_chunk(b, t0, n, start(b, t0));
      back_to_state(b, t0, n, g.y);
      back_through_time(n, start(b, t0));
      back_to_input(b, t0, n, g.x);
    }
    std::memcpy(g.s0 + at(b) * P_, carry_, sizeof(float) * P_);
    if (g.x) std::memset(g.x + (at(b) * s_.T + valid) * D_, 0, sizeof(float) * (s_.T - valid) * D_);
  }

 private:
  size_t at(int b) const { return static_cast<size_t>(b); }
  size_t rows(int width) const { return Scratch::rounded(static_cast<size_t>(steps_) * width); }
  size_t chunk_size() const { return rows(Ps_) + 2 * rows(Hs_) + rows(Gs_); }
  int valid_steps(int b) const {
    return static_cast<int>(s_.lengths ? std::min(s_.T, std::max<int64_t>(0, s_.lengths[b])) : s_.T);
  }
  const float* input(int b, int t) const { return s_.x + (at(b) * s_.T + t) * D_; }
  float* start(int b, int t0) const { return s_.starts + (at(b) * chunks_ + t0 / steps_) * P_; }
  void place(float* scratch) {
    states_ = scratch, u_ = states_ + rows(Ps_), a_ = u_ + rows(Hs_), g_ = a_ + rows(Hs_);
  }

  // Fills in states, u, gelu(u) and the products of the gated linear unit.
  void run_chunk(int b, int t0, int n, const float* before) {
    const float* x = input(b, t0);
    multiply(n, D_, P_, x, D_, packed_ + factors_.to_state, nullptr, 0, states_, Ps_);
    for (int k = 0; k < n; ++k) {
      advance(before, states_ + k * Ps_);
      before = states_ + k * Ps_;
    }
    multiply(n, D_, H_, x, D_, packed_ + factors_.past, s_.past_bias, 0, u_, Hs_);
    multiply(n, P_, H_, states_, Ps_, packed_ + factors_.from_state, u_, Hs_, u_, Hs_);
    for (int k = 0; k < n; ++k) {
      over(H_, [&](int j, auto e) {
        const Vec u = load(u_ + k * Hs_ + j, e);
        store(a_ + k * Hs_ + j, u * Normal(u).below, e);
      });
    }
    multiply(n, H_, 2 * H_, a_, Hs_, packed_ + factors_.glu, s_.glu_bias, 0, g_, Gs_);
  }

  // s <- λ ⊙ before + s
  void advance(const float* before, float* s) const {
    const float* re = s_.eigenvalues;
    over(H_, [&](int j, auto e) {
      const Vec r = load(re + j, e), x = load(before + j, e);
      if constexpr (COMPLEX) {
        const Vec i = load(re + H_ + j, e), y = load(before + H_ + j, e);
        store(s + j, load(s + j, e) + r * x - i * y, e);
        store(s + H_ + j, load(s + H_ + j, e) + r * y + i * x, e);
      } else {
        store(s + j, load(s + j, e) + r * x, e);
      }
    });
  }

  // From the outputs' gradients to du_, and what reaches the states from them, in ds_.
  void back_to_state(int b, int t0, int n, const float* dy) {
    for (int k = 0; k < n; ++k) {
      float* g = g_ + k * Gs_;
      const float* d = dy ? dy + (at(b) * s_.T + t0 + k) * H_ : nullptr;
      over(H_, [&](int j, auto e) {
        const Vec given = d ? load(d + j, e) : Vec{}, value = load(g + j, e), gate = sigmoid(load(g + H_ + j, e));
        store(g + j, given * gate, e);
        store(g + H_ + j, given * value * gate * (1.0f - gate), e);
      });
    }
    sum(sums_.glu, 2 * H_, H_, n, g_, Gs_, a_, Hs_);
    add_rows(own_ + sums_.glu_bias, 2 * H_, n, g_, Gs_);
    multiply(n, 2 * H_, H_, g_, Gs_, packed_ + factors_.glu_back, nullptr, 0, du_, Hs_);
    for (int k = 0; k < n; ++k) {
      over(H_, [&](int j, auto e) {
        const Vec u = load(u_ + k * Hs_ + j, e);
        const Normal normal(u);
        store(du_ + k * Hs_ + j, load(du_ + k * Hs_ + j, e) * (normal.below + u * normal.density), e);
      });
    }
    sum(sums_.from_state, H_, P_, n, du_, Hs_, states_, Ps_);
    add_rows(own_ + sums_.past_bias, H_, n, du_, Hs_);
    multiply(n, H_, P_, du_, Hs_, packed_ + factors_.from_state_back, nullptr, 0, ds_, Ps_);
  }

  // Adds to each state's gradient what reaches it through later ones; carry_ holds that of the state before.
  void back_through_time(int n, const float* start) {
    const float* re = s_.eigenvalues;
    float* grad = own_ + sums_.eigenvalues;
    for (int k = n - 1; k >= 0; --k) {
      const float* before = k ? states_ + (k - 1) * Ps_ : start;
      float* ds = ds_ + k * Ps_;
      over(H_, [&](int j, auto e) {
        const Vec r = load(re + j, e), x = load(before + j, e), d = load(ds + j, e) + load(carry_ + j, e);
        store(ds + j, d, e);
        if constexpr (COMPLEX) {
          const Vec i = load(re + H_ + j, e), y = load(before + H_ + j, e);
          const Vec di = load(ds + H_ + j, e) + load(carry_ + H_ + j, e);
          store(ds + H_ + j, di, e);
          store(grad + j, load(grad + j, e) + d * x + di * y, e);
          store(grad + H_ + j, load(grad + H_ + j, e) + di * x - d * y, e);
          store(carry_ + j, r * d + i * di, e);
          store(carry_ + H_ + j, r * di - i * d, e);
        } else {
          store(grad + j, load(grad + j, e) + d * x, e);
          store(carry_ + j, r * d, e);
        }
      });
    }
  }

  void back_to_input(int b, int t0, int n, float* dx) {
    const float* x = input(b, t0);
    sum(sums_.past, H_, D_, n, du_, Hs_, x, D_);
    sum(sums_.to_state, P_, D_, n, ds_, Ps_, x, D_);
    if (!dx) return;
    dx += (at(b) * s_.T + t0) * D_;
    multiply(n, H_, D_, du_, Hs_, packed_ + factors_.past_back, nullptr, 0, dx, D_);
    multiply(n, P_, D_, ds_, Ps_, packed_ + factors_.to_state_back, dx, D_, dx, D_);
  }

  void sum(size_t to, int M, int N, int n, const float* left, int left_row, const float* right, int right_row) {
    const float* rows[OUTER_STEPS];
    for (int k = 0; k < n; ++k) rows[k] = right + static_cast<size_t>(k) * right_row;
    add_outer(own_ + to, M, N, n, left, left_row, rows, packed_right_);
  }

  const Lru& s_;
  const int D_, H_, P_, Ps_, Hs_, Gs_, steps_, chunks_;
  const LruFactors factors_;
  const LruSums sums_;
  const float* packed_;
  float *states_ = nullptr, *u_ = nullptr, *a_ = nullptr, *g_ = nullptr, *du_ = nullptr, *ds_ = nullptr;
  float *carry_ = nullptr, *own_ = nullptr, *packed_right_ = nullptr;
};

template <bool COMPLEX>
int run_lru(const Lru& s, int threads) {
  const int P = COMPLEX ? 2 * s.H : s.H, parts = std::max(1, std::min<int>(threads, s.B));
  const LruFactors factors(s.D, s.H, P);
  const size_t own = LruPart<COMPLEX>::forward_size(s);
  Scratch scratch(factors.size + parts * own);
  if (!scratch) return 1;
  float *packed = scratch.take(factors.size), *rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    factors.pack(s, P, packed, false, thread, num_threads);
    meet(num_threads);
    LruPart<COMPLEX> part(s, packed);
    const Share rows(s.B, thread, num_threads);
    for (int b = rows.begin; b < rows.end; ++b) part.forward(b, rest + thread * own);
  });
  return 0;
}

template <bool COMPLEX>
int run_lru_back(const Lru& s, const LruGradients& g, int threads) {
  const int H = s.H, D = s.D, P = COMPLEX ? 2 * H : H, parts = std::max(1, std::min<int>(threads, s.B));
  const LruFactors factors(D, H, P);
  const size_t own = LruPart<COMPLEX>::backward_size(s);
  Scratch scratch(factors.size_back + parts * own);
  if (!scratch) return 1;
  float *packed = scratch.take(factors.size_back), *rest = scratch.take(parts * own);
  in_parallel(parts, [&](int thread, int num_threads) {
    factors.pack(s, P, packed, true, thread, num_threads);
    meet(num_threads);
    LruPart<COMPLEX> part(s, packed);
    std::memset(rest + thread * own, 0, sizeof(float) * own);
    const Share rows(s.B, thread, num_threads);
    for (int b = rows.begin; b < rows.end; ++b) part.backward(b, g, rest + thread * own);
    meet(num_threads);
    const LruSums& sums = part.sums();
    const auto total = [&](float* to, size_t from, size_t count) {
      reduce(to, rest + from, own, count, num_threads, thread, num_threads);
    };
    total(g.to_state, sums.to_state, static_cast<size_t>(P) * D);
    total(g.eigenvalues, sums.eigenvalues, P);
    total(g.from_state, sums.from_state, static_cast<size_t>(H) * P);
    total(g.past, sums.past, static_cast<size_t>(H) * D);
    total(g.past_bias, sums.past_bias, H);
    total(g.glu, sums.glu, static_cast<size_t>(2 * H) * H);
    total(g.glu_bias, sums.glu_bias, 2 * H);
  });
  return 0;
}
