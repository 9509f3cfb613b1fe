// What further cells do between the products of a step; see cells.h.

#pragma once

#include "cells.h"
#include "norm.h"

// The LSTM that takes in as much as it forgets: o, f, g. Keeps them, and as extra c.
struct CoupledLstm : RecurrentCell {
  static constexpr int GATES = 3;
  static constexpr int extra(int H) { return H; }

  static void forward(const Forward& s, const Sequence&) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const auto sum_of = [&](int k) { return load(s.gates + k * H + j, n) + load(s.recurrent + k * H + j, n); };
      const Vec o = sigmoid(sum_of(0)), f = sigmoid(sum_of(1)), g = tanh_of(sum_of(2));
      const Vec c = g + f * (load(s.c + j, n) - g), h = o * tanh_of(c);
      store(s.gates + j, o, n);
      store(s.gates + H + j, f, n);
      store(s.gates + 2 * H + j, g, n);
      store(s.extra + j, c, n);
      store(s.c + j, c, n);
      store(s.h + j, h, n);
      store(s.y + j, h, n);
    });
  }

  static void backward(const Backward& s, const Sequence&) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const Vec o = load(s.gates + j, n), f = load(s.gates + H + j, n), g = load(s.gates + 2 * H + j, n);
      const Vec squashed = tanh_of(load(s.extra + j, n)), d = load(s.dh + j, n) + load(s.dy + j, n);
      const Vec dc = load(s.dc + j, n) + d * o * (1.0f - squashed * squashed);
      const auto put = [&](int k, Vec x) {
        store(s.gates_out + k * H + j, x, n);
        store(s.recurrent + k * H + j, x, n);
      };
      put(0, d * squashed * o * (1.0f - o));
      put(1, dc * (load(s.c_before + j, n) - g) * f * (1.0f - f));
      put(2, dc * (1.0f - f) * (1.0f - g * g));
      store(s.dc + j, dc * f, n);
      store(s.dh + j, Vec{}, n);
    });
  }
};

// Keeps σ(s) and g, and as extra 1 - σ(s - β). The option is β, once a unit; it is not learnt.
struct Janet : RecurrentCell {
  static constexpr int GATES = 2;
  static constexpr int extra(int H) { return H; }
  static constexpr int options(int H) { return H; }

  static void forward(const Forward& f, const Sequence& q) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Vec s = load(f.gates + j, n) + load(f.recurrent + j, n), keep = sigmoid(s);
      const Vec take = sigmoid(load(q.options + j, n) - s);
      const Vec g = tanh_of(load(f.gates + H + j, n) + load(f.recurrent + H + j, n));
      const Vec h = keep * load(f.h + j, n) + take * g;
      store(f.gates + j, keep, n);
      store(f.gates + H + j, g, n);
      store(f.extra + j, take, n);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward(const Backward& b, const Sequence&) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Vec keep = load(b.gates + j, n), g = load(b.gates + H + j, n), take = load(b.extra + j, n);
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n);
      const Vec ds = d * (load(b.h_before + j, n) * keep * (1.0f - keep) - g * take * (1.0f - take));
      const Vec dg = d * take * (1.0f - g * g);
      store(b.gates_out + j, ds, n);
      store(b.gates_out + H + j, dg, n);
      store(b.recurrent + j, ds, n);
      store(b.recurrent + H + j, dg, n);
      store(b.dh + j, d * keep, n);
    });
  }
};

// Keeps φ. The option is the share α of it that each unit takes.
template <bool RELU>
struct Leaky : RecurrentCell {
  static constexpr int GATES = 1;
  static constexpr int options(int H) { return H; }

  static void forward(const Forward& f, const Sequence& q) {
    over(f.H, [&](int j, auto n) {
      const Vec a = load(f.gates + j, n) + load(f.recurrent + j, n), fresh = RELU ? relu(a) : tanh_of(a);
      const Vec before = load(f.h + j, n), h = before + load(q.options + j, n) * (fresh - before);
      store(f.gates + j, fresh, n);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward(const Backward& b, const Sequence& q) {
    over(b.H, [&](int j, auto n) {
      const Vec fresh = load(b.gates + j, n), rate = load(q.options + j, n);
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n), taken = d * rate;
      const Vec a = RELU ? (fresh <= 0.0f ? Vec{} : taken) : taken * (1.0f - fresh * fresh);
      store(b.gates_out + j, a, n);
      store(b.recurrent + j, a, n);
      store(b.options + j, load(b.options + j, n) + d * (fresh - load(b.h_before + j, n)), n);
      store(b.dh + j, d - taken, n);
    });
  }
};

// tanh of an input, the last state and that of some steps ago.
struct SkipRnn : Rnn<false> {
  static constexpr bool SKIPS = true;

  static void backward(const Backward& b, const Sequence&) {
    over(b.H, [&](int j, auto n) {
      const Vec d = load(b.dh + j, n) + load(b.dc + j, n) + load(b.dy + j, n), y = load(b.y + j, n);
      const Vec a = d * (1.0f - y * y);
      store(b.gates_out + j, a, n);
      store(b.recurrent + j, a, n);
      store(b.dh + j, Vec{}, n);
      store(b.dc + j, Vec{}, n);
    });
  }
};

// The LSTM whose output is a projection. Keeps its gates, and as extra c and o ⊙ tanh(c).
struct ProjectedLstm : Lstm<false, true> {
  static constexpr bool PROJECTED = true;
  static constexpr int extra(int H) { return 2 * H; }
};

// Keeps φ, and with GATED z, which reads the same product with the state. The option is the step ε; it is not learnt.
template <bool GATED>
struct Antisymmetric : RecurrentCell {
  static constexpr int GATES = GATED ? 2 : 1, RECURRENT = 1;
  static constexpr bool SAME = !GATED;
  static constexpr int options(int H) { return H; }

  static void forward(const Forward& f, const Sequence& q) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Vec u = load(f.recurrent + j, n), fresh = tanh_of(load(f.gates + j, n) + u);
      Vec change = load(q.options + j, n) * fresh;
      if (GATED) {
        const Vec z = sigmoid(load(f.gates + H + j, n) + u);
        store(f.gates + H + j, z, n);
        change *= z;
      }
      const Vec h = load(f.h + j, n) + change;
      store(f.gates + j, fresh, n);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward(const Backward& b, const Sequence& q) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Vec fresh = load(b.gates + j, n), d = load(b.dh + j, n) + load(b.dy + j, n);
      const Vec taken = d * load(q.options + j, n), slope = 1.0f - fresh * fresh;
      Vec a = taken * slope;
      if (GATED) {
        const Vec z = load(b.gates + H + j, n), dz = taken * fresh * z * (1.0f - z);
        a *= z;
        store(b.gates_out + H + j, dz, n);
        store(b.gates_out + j, a, n);
        a += dz;
        store(b.kept + j, a, n);
      } else {
        store(b.gates_out + j, a, n);
      }
      store(b.recurrent + j, a, n);
      store(b.dh + j, d, n);
    });
  }
};

// h is the position y of the oscillators and c their velocity z. Keeps the force, and as extra z. The options are Δt,
// Δt γ and 1 - Δt ε; they are not learnt.
struct CoRnn : RecurrentCell {
  static constexpr int GATES = 1;
  static constexpr bool READS_CELL = true;
  static constexpr int extra(int H) { return H; }
  static constexpr int options(int H) { return 3 * H; }

  static void forward(const Forward& f, const Sequence& q) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const auto option = [&](int k) { return load(q.options + k * H + j, n); };
      const Vec force = tanh_of(load(f.gates + j, n) + load(f.recurrent + j, n)), before = load(f.h + j, n);
      const Vec z = option(2) * load(f.c + j, n) + option(0) * force - option(1) * before, y = before + option(0) * z;
      store(f.gates + j, force, n);
      store(f.extra + j, z, n);
      store(f.c + j, z, n);
      store(f.h + j, y, n);
      store(f.y + j, y, n);
    });
  }

  static void backward(const Backward& b, const Sequence& q) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const auto option = [&](int k) { return load(q.options + k * H + j, n); };
      const Vec force = load(b.gates + j, n), d = load(b.dh + j, n) + load(b.dy + j, n);
      const Vec dz = load(b.dc + j, n) + option(0) * d, a = option(0) * dz * (1.0f - force * force);
      store(b.gates_out + j, a, n);
      store(b.recurrent + j, a, n);
      store(b.dh + j, d - option(1) * dz, n);
      store(b.dc + j, option(2) * dz, n);
    });
  }
};

// Keeps φ. What is kept of the last output by zoneout says which units rest at a step, each of them wholly or not at all.
struct Clockwork : RecurrentCell {
  static constexpr int GATES = 1;

  static void forward(const Forward& f, const Sequence& q) {
    const float* rests = zone(q.zone_h, q, f.b, f.t);
    over(f.H, [&](int j, auto n) {
      const Vec fresh = tanh_of(load(f.gates + j, n) + load(f.recurrent + j, n));
      const Vec h = load(rests + j, n) > 0.5f ? load(f.h + j, n) : fresh;
      store(f.gates + j, fresh, n);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward(const Backward& b, const Sequence& q) {
    const float* rests = zone(q.zone_h, q, b.b, b.t);
    over(b.H, [&](int j, auto n) {
      const Vec fresh = load(b.gates + j, n), d = load(b.dh + j, n) + load(b.dy + j, n), zero{};
      const auto rest = load(rests + j, n) > 0.5f;
      const Vec a = rest ? zero : d * (1.0f - fresh * fresh);
      store(b.gates_out + j, a, n);
      store(b.recurrent + j, a, n);
      store(b.dh + j, rest ? d : zero, n);
    });
  }
};

// Keeps log i, f before its sigmoid, z and o, and as extra c, n and m.
struct Slstm : RecurrentCell {
  static constexpr int GATES = 4, CELLS = 3;
  static constexpr int extra(int H) { return 3 * H; }

  static void forward(const Forward& s, const Sequence&) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const auto sum_of = [&](int k) { return load(s.gates + k * H + j, n) + load(s.recurrent + k * H + j, n); };
      const Vec log_i = sum_of(0), f = sum_of(1), z = tanh_of(sum_of(2)), o = sigmoid(sum_of(3));
      const Vec log_f = log_sigmoid(f) + load(s.c + 2 * H + j, n), m = log_i > log_f ? log_i : log_f;
      const Vec keep = exp_of(log_f - m), take = exp_of(log_i - m);
      const Vec c = keep * load(s.c + j, n) + take * z, weight = keep * load(s.c + H + j, n) + take;
      const Vec h = o * c / (weight < 1.0f ? fill(1.0f) : weight);
      store(s.gates + j, log_i, n);
      store(s.gates + H + j, f, n);
      store(s.gates + 2 * H + j, z, n);
      store(s.gates + 3 * H + j, o, n);
      const auto put = [&](int k, Vec x) {
        store(s.extra + k * H + j, x, n);
        store(s.c + k * H + j, x, n);
      };
      put(0, c);
      put(1, weight);
      put(2, m);
      store(s.h + j, h, n);
      store(s.y + j, h, n);
    });
  }

  static void backward(const Backward& s, const Sequence&) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const auto gate = [&](int k) { return load(s.gates + k * H + j, n); };
      const auto before = [&](int k) { return load(s.c_before + k * H + j, n); };
      const auto after = [&](int k) { return load(s.extra + k * H + j, n); };
      const Vec log_i = gate(0), f = gate(1), z = gate(2), o = gate(3), c = after(0), weight = after(1), m = after(2);
      const Vec log_f = log_sigmoid(f) + before(2), keep = exp_of(log_f - m), take = exp_of(log_i - m);
      const Vec share = 1.0f / (weight < 1.0f ? fill(1.0f) : weight), shown = c * share;
      const Vec d = load(s.dh + j, n) + load(s.dy + j, n), dc = load(s.dc + j, n) + d * o * share;
      const Vec by_weight = d * o * shown * share;
      const Vec dn = load(s.dc + H + j, n) - (weight < 1.0f ? Vec{} : by_weight);
      Vec at_f = (dc * before(0) + dn * before(1)) * keep, at_i = (dc * z + dn) * take;
      // m is the larger of the two, and half of each where they are one, as torch.maximum has it.
      const Vec dm = load(s.dc + 2 * H + j, n) - at_f - at_i;
      const Vec half = 0.5f * dm;
      at_f += log_f > log_i ? dm : (log_f < log_i ? Vec{} : half);
      at_i += log_i > log_f ? dm : (log_i < log_f ? Vec{} : half);
      const auto put = [&](int k, Vec x) {
        store(s.gates_out + k * H + j, x, n);
        store(s.recurrent + k * H + j, x, n);
      };
      put(0, at_i);
      put(1, at_f * sigmoid(-f));
      put(2, dc * take * (1.0f - z * z));
      put(3, d * shown * o * (1.0f - o));
      store(s.dc + j, dc * keep, n);
      store(s.dc + H + j, dn * keep, n);
      store(s.dc + 2 * H + j, at_f, n);
      store(s.dh + j, Vec{}, n);
    });
  }
};
