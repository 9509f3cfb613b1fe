// What the cells do between the products of a step; equations stand in the docstrings of rnntrain.cells.

#pragma once

#include "backward.h"
#include "forward.h"

inline Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }  // NaN stays

// GATES: how many blocks of H rows the weights have. RECURRENT: how many of them those of the state have, 0 for as many.
// CELLS: how many blocks of H numbers the state has beside h; they come first in what is kept as extra. SAME: what
// reaches the input's product and the state's has one gradient. extra: numbers kept a step beside the gates. options:
// numbers of further weights. At most one of these holds, each a second product: TWO_PRODUCTS, of what `reset` leaves;
// READS_CELL, of c, whose weights stand below those of h; SKIPS, likewise of the output of `skip` steps ago, whose
// gradient stands in dc; PROJECTED, from what the cell gives, which is kept behind c, to h and the output.
struct RecurrentCell {
  static constexpr int RECURRENT = 0, CELLS = 1;
  static constexpr bool SAME = true, TWO_PRODUCTS = false, READS_CELL = false, SKIPS = false;
  static constexpr bool PROJECTED = false;
  static constexpr int extra(int) { return 0; }
  static constexpr int options(int) { return 0; }
};

template <bool RELU>
struct Rnn : RecurrentCell {
  static constexpr int GATES = 1;

  static void forward(const Forward& f, const Sequence&) {
    over(f.H, [&](int j, auto n) {
      const Vec a = load(f.gates + j, n) + load(f.recurrent + j, n), h = RELU ? relu(a) : tanh_of(a);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward(const Backward& b, const Sequence&) {
    over(b.H, [&](int j, auto n) {
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n), y = load(b.y + j, n);
      const Vec a = RELU ? (y <= 0.0f ? Vec{} : d) : d * (1.0f - y * y);
      store(b.gates_out + j, a, n);
      store(b.recurrent + j, a, n);
      store(b.dh + j, Vec{}, n);
    });
  }
};

// Keeps r, z, n, and as extra U_n h + c_n.
struct Gru : RecurrentCell {
  static constexpr int GATES = 3;
  static constexpr bool SAME = false;
  static constexpr int extra(int H) { return H; }

  static void forward(const Forward& f, const Sequence&) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Vec r = sigmoid(load(f.gates + j, n) + load(f.recurrent + j, n));
      const Vec z = sigmoid(load(f.gates + H + j, n) + load(f.recurrent + H + j, n));
      const Vec u = load(f.recurrent + 2 * H + j, n);
      const Vec fresh = tanh_of(load(f.gates + 2 * H + j, n) + r * u);
      const Vec h = fresh + z * (load(f.h + j, n) - fresh);
      store(f.gates + j, r, n);
      store(f.gates + H + j, z, n);
      store(f.gates + 2 * H + j, fresh, n);
      store(f.extra + j, u, n);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward(const Backward& b, const Sequence&) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Vec r = load(b.gates + j, n), z = load(b.gates + H + j, n), fresh = load(b.gates + 2 * H + j, n);
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n);
      const Vec dn = d * (1.0f - z) * (1.0f - fresh * fresh);
      const Vec dr = dn * load(b.extra + j, n) * r * (1.0f - r);
      const Vec dz = d * (load(b.h_before + j, n) - fresh) * z * (1.0f - z);
      store(b.gates_out + j, dr, n);
      store(b.gates_out + H + j, dz, n);
      store(b.gates_out + 2 * H + j, dn, n);
      store(b.recurrent + j, dr, n);
      store(b.recurrent + H + j, dz, n);
      store(b.recurrent + 2 * H + j, dn * r, n);
      store(b.kept + j, dr, n);
      store(b.kept + H + j, dz, n);
      store(b.kept + 2 * H + j, dn * r, n);
      store(b.dh + j, d * z, n);
    });
  }
};

// The form of Cho et al., which resets before the product with U_n. Keeps r, z, n.
struct GruResetBefore : RecurrentCell {
  static constexpr int GATES = 3;
  static constexpr bool TWO_PRODUCTS = true;

  static void reset(const Forward& f, const Sequence&) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Vec r = sigmoid(load(f.gates + j, n) + load(f.recurrent + j, n));
      store(f.gates + j, r, n);
      store(f.c + j, r * load(f.h + j, n), n);
    });
  }

  static void forward(const Forward& f, const Sequence&) {
    const int H = f.H;
    over(H, [&](int j, auto n) {
      const Vec z = sigmoid(load(f.gates + H + j, n) + load(f.recurrent + H + j, n));
      const Vec fresh = tanh_of(load(f.gates + 2 * H + j, n) + load(f.recurrent + 2 * H + j, n));
      const Vec h = fresh + z * (load(f.h + j, n) - fresh);
      store(f.gates + H + j, z, n);
      store(f.gates + 2 * H + j, fresh, n);
      store(f.h + j, h, n);
      store(f.y + j, h, n);
    });
  }

  static void backward_fresh(const Backward& b, const Sequence&) {
    const int H = b.H;
    over(H, [&](int j, auto n) {
      const Vec z = load(b.gates + H + j, n), fresh = load(b.gates + 2 * H + j, n);
      const Vec d = load(b.dh + j, n) + load(b.dy + j, n);
      const Vec dn = d * (1.0f - z) * (1.0f - fresh * fresh);
      const Vec dz = d * (load(b.h_before + j, n) - fresh) * z * (1.0f - z);
      store(b.gates_out + H + j, dz, n);
      store(b.gates_out + 2 * H + j, dn, n);
      store(b.recurrent + H + j, dz, n);
      store(b.recurrent + 2 * H + j, dn, n);
      store(b.dh + j, d * z, n);
    });
  }

  // dc holds the gradient of r ⊙ h; that product itself is kept, as the weights' right factor.
  static void backward(const Backward& b, const Sequence&) {
    over(b.H, [&](int j, auto n) {
      const Vec r = load(b.gates + j, n), h = load(b.h_before + j, n), d = load(b.dc + j, n);
      const Vec dr = d * h * r * (1.0f - r);
      store(b.gates_out + j, dr, n);
      store(b.recurrent + j, dr, n);
      store(b.kept + j, r * h, n);
      store(b.dh + j, load(b.dh + j, n) + d * r, n);
    });
  }
};

// Keeps its gates, and as extra c. Gates stand in the order i, f, g, o of PyTorch, or o, i, f, g; with peepholes the
// options are the weights from c to o, i and f.
template <bool PEEPHOLE, bool OUTPUT_FIRST = PEEPHOLE>
struct Lstm : RecurrentCell {
  static constexpr int GATES = 4;
  static constexpr int I = OUTPUT_FIRST ? 1 : 0, F = I + 1, G = I + 2, O = OUTPUT_FIRST ? 0 : 3;
  static constexpr int extra(int H) { return H; }
  static constexpr int options(int H) { return PEEPHOLE ? 3 * H : 0; }

  static void forward(const Forward& s, const Sequence& q) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const auto sum_of = [&](int k) { return load(s.gates + k * H + j, n) + load(s.recurrent + k * H + j, n); };
      const auto peep = [&](int k) { return load(q.options + k * H + j, n); };
      const Vec before = load(s.c + j, n);
      const Vec i = sigmoid(PEEPHOLE ? sum_of(I) + peep(I) * before : sum_of(I));
      const Vec f = sigmoid(PEEPHOLE ? sum_of(F) + peep(F) * before : sum_of(F));
      const Vec g = tanh_of(sum_of(G)), c = f * before + i * g;
      const Vec o = sigmoid(PEEPHOLE ? sum_of(O) + peep(O) * c : sum_of(O)), h = o * tanh_of(c);
      store(s.gates + I * H + j, i, n);
      store(s.gates + F * H + j, f, n);
      store(s.gates + G * H + j, g, n);
      store(s.gates + O * H + j, o, n);
      store(s.extra + j, c, n);
      store(s.c + j, c, n);
      store(s.h + j, h, n);
      store(s.y + j, h, n);
    });
  }

  static void backward(const Backward& s, const Sequence& q) {
    const int H = s.H;
    over(H, [&](int j, auto n) {
      const auto gate = [&](int k) { return load(s.gates + k * H + j, n); };
      const auto peep = [&](int k) { return load(q.options + k * H + j, n); };
      const auto put = [&](int k, Vec x) {
        store(s.gates_out + k * H + j, x, n);
        store(s.recurrent + k * H + j, x, n);
      };
      const auto add = [&](int k, Vec x) { store(s.options + k * H + j, load(s.options + k * H + j, n) + x, n); };
      const Vec i = gate(I), f = gate(F), g = gate(G), o = gate(O);
      const Vec c = load(s.extra + j, n), before = load(s.c_before + j, n), squashed = tanh_of(c);
      const Vec d = load(s.dh + j, n) + load(s.dy + j, n);
      const Vec at_o = d * squashed * o * (1.0f - o);
      Vec dc = load(s.dc + j, n) + d * o * (1.0f - squashed * squashed);
      if (PEEPHOLE) dc += at_o * peep(O);
      const Vec at_i = dc * g * i * (1.0f - i), at_f = dc * before * f * (1.0f - f);
      put(I, at_i);
      put(F, at_f);
      put(G, dc * i * (1.0f - g * g));
      put(O, at_o);
      dc *= f;
      if (PEEPHOLE) {
        dc += at_i * peep(I) + at_f * peep(F);
        add(I, at_i * before);
        add(F, at_f * before);
        add(O, at_o * c);
      }
      store(s.dc + j, dc, n);
      store(s.dh + j, Vec{}, n);
    });
  }
};
