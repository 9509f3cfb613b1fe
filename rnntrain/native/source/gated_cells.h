// What the recurrences do whose gates read the input alone; equations stand in the docstrings of rnntrain.cells.
//
// GATES: how many blocks of H rows the weights have. OWN_STATE: whether the output is not the state itself. options:
// numbers of further weights.

#pragma once

#include "gated.h"

// σ(x) and σ(-x), each to its own last bit.
struct Gate {
  Vec keep, take;
  explicit Gate(Vec x) {
    const Vec e = exp_of(-x);
    keep = 1.0f / (1.0f + e), take = e * keep;
  }
};

// φ and, given its value, its slope: the identity, or x + 0.5 above zero and σ(x) below.
template <bool POSITIVE>
struct Candidate {
  static Vec value(Vec v) { return POSITIVE ? (v >= 0.0f ? v + 0.5f : sigmoid(v)) : v; }
  static Vec slope(Vec v, Vec value) {
    return POSITIVE ? (v >= 0.0f ? fill(1.0f) : value * (1.0f - value)) : fill(1.0f);
  }
};

struct GatedCell {
  static constexpr bool OWN_STATE = false;
  static constexpr int options(int) { return 0; }
};

// z, v
template <bool POSITIVE>
struct MinGru : GatedCell {
  static constexpr int GATES = 2;

  static void forward(const GatedForward& f) {
    over(f.H, [&](int j, auto n) {
      const Gate z(load(f.gates + j, n));
      const Vec fresh = Candidate<POSITIVE>::value(load(f.gates + f.H + j, n));
      store(f.h + j, z.take * load(f.before + j, n) + z.keep * fresh, n);
    });
  }

  static void backward(const GatedBackward& b) {
    over(b.H, [&](int j, auto n) {
      const Gate z(load(b.gates + j, n));
      const Vec v = load(b.gates + b.H + j, n), fresh = Candidate<POSITIVE>::value(v);
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n);
      store(b.gates + j, d * (fresh - load(b.before + j, n)) * z.keep * z.take, n);
      store(b.gates + b.H + j, d * z.keep * Candidate<POSITIVE>::slope(v, fresh), n);
      store(b.dh + j, d * z.take, n);
    });
  }
};

// f, i, v
template <bool POSITIVE>
struct MinLstm : GatedCell {
  static constexpr int GATES = 3;

  // f' = σ(f) / (σ(f) + σ(i)) and 1 - f'. Only the difference of two gates counts that are closed alike, and raising
  // both keeps it where e^-x would overflow.
  struct Shares {
    Vec keep, take, not_f, not_i;
    Shares(Vec f, Vec i) {
      const Vec larger = (f > i ? f : i) + 60.0f, shift = larger < 0.0f ? larger : Vec{};
      const Vec from_f = exp_of(shift - f), from_i = exp_of(shift - i), scale = 1.0f / (2.0f + from_f + from_i);
      keep = (1.0f + from_i) * scale, take = (1.0f + from_f) * scale;
      not_f = from_f / (1.0f + from_f), not_i = from_i / (1.0f + from_i);
    }
  };

  static void forward(const GatedForward& f) {
    over(f.H, [&](int j, auto n) {
      const Shares share(load(f.gates + j, n), load(f.gates + f.H + j, n));
      const Vec fresh = Candidate<POSITIVE>::value(load(f.gates + 2 * f.H + j, n));
      store(f.h + j, share.keep * load(f.before + j, n) + share.take * fresh, n);
    });
  }

  static void backward(const GatedBackward& b) {
    over(b.H, [&](int j, auto n) {
      const Shares share(load(b.gates + j, n), load(b.gates + b.H + j, n));
      const Vec v = load(b.gates + 2 * b.H + j, n), fresh = Candidate<POSITIVE>::value(v);
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n);
      const Vec at_share = d * (load(b.before + j, n) - fresh) * share.keep * share.take;
      store(b.gates + j, at_share * share.not_f, n);
      store(b.gates + b.H + j, -at_share * share.not_i, n);
      store(b.gates + 2 * b.H + j, d * share.take * Candidate<POSITIVE>::slope(v, fresh), n);
      store(b.dh + j, d * share.keep, n);
    });
  }
};

// v, f, r and, where the highway is not the input itself, its product.
template <bool PROJECTED>
struct Sru {
  static constexpr int GATES = PROJECTED ? 4 : 3;
  static constexpr bool OWN_STATE = true;
  static constexpr int options(int) { return 0; }
  static constexpr float SCALE = 1.7320508f;

  static void forward(const GatedForward& s) {
    const int H = s.H;
    const float* highway = PROJECTED ? s.gates + 3 * H : s.x;
    over(H, [&](int j, auto n) {
      const Gate f(load(s.gates + H + j, n));
      const Vec c = f.keep * load(s.before + j, n) + f.take * load(s.gates + j, n);
      const Vec r = sigmoid(load(s.gates + 2 * H + j, n)), way = SCALE * load(highway + j, n);
      store(s.h + j, c, n);
      store(s.y + j, way + r * (c - way), n);
    });
  }

  static void backward(const GatedBackward& b) {
    const int H = b.H;
    const float* highway = PROJECTED ? b.gates + 3 * H : b.x;
    over(H, [&](int j, auto n) {
      const Gate f(load(b.gates + H + j, n)), r(load(b.gates + 2 * H + j, n));
      const Vec v = load(b.gates + j, n), way = SCALE * load(highway + j, n), dy = load(b.dy + j, n);
      const Vec d = load(b.dh + j, n) + dy * r.keep, at_highway = SCALE * dy * r.take;
      store(b.gates + j, d * f.take, n);
      store(b.gates + H + j, d * (load(b.before + j, n) - v) * f.keep * f.take, n);
      store(b.gates + 2 * H + j, dy * (load(b.h + j, n) - way) * r.keep * r.take, n);
      if (PROJECTED) {
        store(b.gates + 3 * H + j, at_highway, n);
      } else if (b.dx) {
        store(b.dx + j, load(b.dx + j, n) + at_highway, n);
      }
      store(b.dh + j, d * f.keep, n);
    });
  }
};

// z, f, o
struct Qrnn {
  static constexpr int GATES = 3;
  static constexpr bool OWN_STATE = true;
  static constexpr int options(int) { return 0; }

  static void forward(const GatedForward& s) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const Gate f(load(s.gates + H + j, n));
      const Vec c = f.keep * load(s.before + j, n) + f.take * tanh_of(load(s.gates + j, n));
      store(s.h + j, c, n);
      store(s.y + j, sigmoid(load(s.gates + 2 * H + j, n)) * c, n);
    });
  }

  static void backward(const GatedBackward& b) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Gate f(load(b.gates + H + j, n)), o(load(b.gates + 2 * H + j, n));
      const Vec z = tanh_of(load(b.gates + j, n)), dy = load(b.dy + j, n), d = load(b.dh + j, n) + dy * o.keep;
      store(b.gates + j, d * f.take * (1.0f - z * z), n);
      store(b.gates + H + j, d * (load(b.before + j, n) - z) * f.keep * f.take, n);
      store(b.gates + 2 * H + j, dy * load(b.h + j, n) * o.keep * o.take, n);
      store(b.dh + j, d * f.keep, n);
    });
  }
};

// a, i, v
template <bool NEGATIVE>
struct GatedLinear : GatedCell {
  static constexpr int GATES = 3;

  static Vec eigenvalue(Vec a) { return NEGATIVE ? tanh_of(0.5f * a) : sigmoid(a); }

  static void forward(const GatedForward& f) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Vec a = eigenvalue(load(f.gates + j, n)), i = sigmoid(load(f.gates + H + j, n));
      store(f.h + j, a * load(f.before + j, n) + i * load(f.gates + 2 * H + j, n), n);
    });
  }

  static void backward(const GatedBackward& b) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Vec a = eigenvalue(load(b.gates + j, n)), v = load(b.gates + 2 * H + j, n);
      const Gate i(load(b.gates + H + j, n));
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n), slope = NEGATIVE ? 0.5f * (1.0f - a * a) : a * (1.0f - a);
      store(b.gates + j, d * load(b.before + j, n) * slope, n);
      store(b.gates + H + j, d * v * i.keep * i.take, n);
      store(b.gates + 2 * H + j, d * i.keep, n);
      store(b.dh + j, d * a, n);
    });
  }
};

// r, i, v; the option is what r is multiplied by, -c softplus(Λ).
struct RgLru : GatedCell {
  static constexpr int GATES = 3;
  static constexpr int options(int H) { return H; }
  static constexpr float SMALLEST_SHARE = 1e-12f;

  struct Decay {
    Gate r;
    Vec rate, a, squared, share;
    Decay(Vec from_r, Vec rate) : r(from_r), rate(rate) {
      const Vec log_a = r.keep * rate;
      a = exp_of(log_a);
      // 1 - a², without the loss of its digits where a is close to 1: tanh(x) = (e^2x - 1) / (e^2x + 1).
      squared = -tanh_of(log_a) * (a * a + 1.0f);
      const Vec kept = squared < SMALLEST_SHARE ? fill(SMALLEST_SHARE) : squared;
      for (int k = 0; k < LANES; ++k) share[k] = __builtin_sqrtf(kept[k]);
    }
  };

  static void forward(const GatedForward& f) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Decay decay(load(f.gates + j, n), load(f.options + j, n));
      const Vec fresh = sigmoid(load(f.gates + H + j, n)) * load(f.gates + 2 * H + j, n);
      store(f.h + j, decay.a * load(f.before + j, n) + decay.share * fresh, n);
    });
  }

  static void backward(const GatedBackward& b) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Decay decay(load(b.gates + j, n), load(b.options + j, n));
      const Gate i(load(b.gates + H + j, n));
      const Vec v = load(b.gates + 2 * H + j, n), d = load(b.dh + j, n) + load(b.dy + j, n), a = decay.a;
      const Vec by_share = decay.squared < SMALLEST_SHARE ? Vec{} : -a * a / decay.share;
      const Vec at_log_a = d * (load(b.before + j, n) * a + i.keep * v * by_share), fresh = d * decay.share;
      store(b.options_grad + j, load(b.options_grad + j, n) + at_log_a * decay.r.keep, n);
      store(b.gates + j, at_log_a * decay.rate * decay.r.keep * decay.r.take, n);
      store(b.gates + H + j, fresh * v * i.keep * i.take, n);
      store(b.gates + 2 * H + j, fresh * i.keep, n);
      store(b.dh + j, d * a, n);
    });
  }
};

// The option is the recurrent weight of each unit.
template <bool RELU>
struct IndRnn : GatedCell {
  static constexpr int GATES = 1;
  static constexpr int options(int H) { return H; }

  static void forward(const GatedForward& f) {
    over(f.H, [&](int j, auto n) {
      const Vec a = load(f.gates + j, n) + load(f.options + j, n) * load(f.before + j, n);
      store(f.h + j, RELU ? relu(a) : tanh_of(a), n);
    });
  }

  static void backward(const GatedBackward& b) {
    over(b.H, [&](int j, auto n) {
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n), h = load(b.h + j, n);
      const Vec a = RELU ? (h <= 0.0f ? Vec{} : d) : d * (1.0f - h * h);
      store(b.options_grad + j, load(b.options_grad + j, n) + a * load(b.before + j, n), n);
      store(b.gates + j, a, n);
      store(b.dh + j, a * load(b.options + j, n), n);
    });
  }
};
