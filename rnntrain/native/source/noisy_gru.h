// GRU with zoneout, dropout of the update, and layer norm of both products.

#pragma once

#include "cells.h"
#include "norm.h"

// Keeps r, z, n, and as extra what r scales; with NORM also the normed products of state and input (3H each) and their
// reciprocal deviations: of r and z together and of n apart. The options of NORM are the bias that r scales (H), the
// gains of both products and the bias (3H each).
template <bool NORM>
struct NoisyGru : RecurrentCell {
  static constexpr int GATES = 3;
  static constexpr bool SAME = false;
  static constexpr int extra(int H) { return NORM ? 7 * H + 4 : H; }
  static constexpr int options(int H) { return NORM ? 10 * H : 0; }

  static void forward(const Forward& s, const Sequence& q) {
    const int H = s.H;
    if (NORM) norm_products(s, q);
    const float *zone_h = zone(q.zone_h, q, s.b, s.t), *update = q.update ? q.update + s.b * H : nullptr;
    over(H, [&](int j, auto n) {
      const auto input = [&](int k) { return load(s.gates + k * H + j, n); };
      const auto sum_of = [&](int k) { return NORM ? input(k) : input(k) + load(s.recurrent + k * H + j, n); };
      const Vec r = sigmoid(sum_of(0)), z = sigmoid(sum_of(1));
      const Vec scaled = NORM ? load(s.extra + j, n) : load(s.recurrent + 2 * H + j, n);
      const Vec fresh = tanh_of(input(2) + r * scaled), before = load(s.h + j, n);
      const Vec used = update ? fresh * load(update + j, n) : fresh;
      Vec h = used + z * (before - used);
      if (zone_h) h += load(zone_h + j, n) * (before - h);
      store(s.gates + j, r, n);
      store(s.gates + H + j, z, n);
      store(s.gates + 2 * H + j, fresh, n);
      store(s.extra + j, scaled, n);
      store(s.h + j, h, n);
      store(s.y + j, h, n);
    });
  }

  // Puts the sums that r and z are functions of, and the input's share of n, in the place of the gates.
  static void norm_products(const Forward& s, const Sequence& q) {
    const int H = s.H;
    float *state = s.extra + H, *input = s.extra + 4 * H, *deviations = s.extra + 7 * H;
    deviations[0] = normalise(s.recurrent, 2 * H, state);
    deviations[1] = normalise(s.recurrent + 2 * H, H, state + 2 * H);
    deviations[2] = normalise(s.gates, 2 * H, input);
    deviations[3] = normalise(s.gates + 2 * H, H, input + 2 * H);
    const float *reset_bias = q.options, *gain = q.options + H, *input_gain = gain + 3 * H, *bias = gain + 6 * H;
    over(3 * H, [&](int j, auto n) {
      store(s.gates + j, load(input + j, n) * load(input_gain + j, n) + load(bias + j, n), n);
    });
    over(2 * H, [&](int j, auto n) { add(s.gates + j, load(state + j, n) * load(gain + j, n), n); });
    over(H, [&](int j, auto n) {
      store(s.extra + j, load(state + 2 * H + j, n) * load(gain + 2 * H + j, n) + load(reset_bias + j, n), n);
    });
  }

  static void backward(const Backward& s, const Sequence& q) {
    const int H = s.H;
    const float *zone_h = zone(q.zone_h, q, s.b, s.t), *update = q.update ? q.update + s.b * H : nullptr;
    over(H, [&](int j, auto n) {
      const Vec r = load(s.gates + j, n), z = load(s.gates + H + j, n), fresh = load(s.gates + 2 * H + j, n);
      const Vec factor = update ? load(update + j, n) : fill(1.0f);
      Vec d = load(s.dh + j, n) + load(s.dy + j, n), kept{};
      if (zone_h) kept = d * load(zone_h + j, n), d -= kept;
      const Vec dn = d * (1.0f - z) * factor * (1.0f - fresh * fresh);
      const Vec dr = dn * load(s.extra + j, n) * r * (1.0f - r);
      const Vec dz = d * (load(s.h_before + j, n) - fresh * factor) * z * (1.0f - z);
      const auto put = [&](float* to, Vec at_n) {
        store(to + j, dr, n);
        store(to + H + j, dz, n);
        store(to + 2 * H + j, at_n, n);
      };
      put(s.gates_out, dn);
      put(s.recurrent, dn * r);
      put(s.kept, dn * r);
      store(s.dh + j, d * z + kept, n);
    });
    if (NORM) norm_back(s, q);
  }

  static void norm_back(const Backward& s, const Sequence& q) {
    const int H = s.H;
    const float *state = s.extra + H, *input = s.extra + 4 * H, *deviations = s.extra + 7 * H;
    const float *gain = q.options + H, *input_gain = gain + 3 * H;
    float *gain_grad = s.options + H, *input_gain_grad = gain_grad + 3 * H, *bias_grad = gain_grad + 6 * H;
    over(H, [&](int j, auto n) { add(s.options + j, load(s.recurrent + 2 * H + j, n), n); });
    over(3 * H, [&](int j, auto n) { add(bias_grad + j, load(s.gates_out + j, n), n); });
    for (const auto& [from, width, number] : {Block{0, 2 * H, 0}, Block{2 * H, H, 1}}) {
      normalise_back(s.recurrent + from, state + from, deviations[number], gain + from, width, gain_grad + from,
                     s.recurrent + from, s.kept + from);
      normalise_back(s.gates_out + from, input + from, deviations[2 + number], input_gain + from, width,
                     input_gain_grad + from, s.gates_out + from, s.gates_out + from);
    }
  }

  struct Block {
    int from, width, number;
  };
};
