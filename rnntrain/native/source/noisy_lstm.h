// LSTM with zoneout, dropout of the update, and layer norm of both products and of the cell.

#pragma once

#include "cells.h"
#include "norm.h"

// Gates stand in the order o, i, f, g. Keeps them, and as extra c and the cell before zoneout; with NORM also the
// normed products of state and input (4H each) and their reciprocal deviations. The options of NORM are the gain of the
// state's product (4H), gain and bias of the cell (H each), gain of the input's product and bias (4H each).
template <bool NORM>
struct NoisyLstm : RecurrentCell {
  static constexpr int GATES = 4;
  static constexpr bool SAME = !NORM;
  static constexpr int extra(int H) { return NORM ? 10 * H + 2 : 2 * H; }
  static constexpr int options(int H) { return NORM ? 14 * H : 0; }

  static void forward(const Forward& s, const Sequence& q) {
    const int H = s.H;
    const float *zone_c = zone(q.zone_c, q, s.b, s.t), *zone_h = zone(q.zone_h, q, s.b, s.t);
    const float* update = q.update ? q.update + s.b * H : nullptr;
    if (NORM) {
      s.extra[10 * H] = normalise(s.recurrent, 4 * H, s.extra + 2 * H);
      s.extra[10 * H + 1] = normalise(s.gates, 4 * H, s.extra + 6 * H);
      over(4 * H, [&](int j, auto n) {
        const Vec from_state = load(s.extra + 2 * H + j, n) * load(q.options + j, n);
        const Vec from_input = load(s.extra + 6 * H + j, n) * load(q.options + 6 * H + j, n);
        store(s.gates + j, from_state + from_input + load(q.options + 10 * H + j, n), n);
      });
    }
    over(H, [&](int j, auto n) {
      const auto sum_of = [&](int k) {
        const Vec x = load(s.gates + k * H + j, n);
        return NORM ? x : x + load(s.recurrent + k * H + j, n);
      };
      const Vec o = sigmoid(sum_of(0)), i = sigmoid(sum_of(1)), f = sigmoid(sum_of(2)), g = tanh_of(sum_of(3));
      const Vec before = load(s.c + j, n);
      const Vec fresh = f * before + i * (update ? g * load(update + j, n) : g);
      const Vec c = zone_c ? fresh + load(zone_c + j, n) * (before - fresh) : fresh;
      store(s.gates + j, o, n);
      store(s.gates + H + j, i, n);
      store(s.gates + 2 * H + j, f, n);
      store(s.gates + 3 * H + j, g, n);
      store(s.extra + j, c, n);
      store(s.extra + H + j, fresh, n);
      store(s.c + j, c, n);
    });
    const float* fresh = s.extra + H;
    const Moments m = NORM ? moments(fresh, H) : Moments{0, 1};
    over(H, [&](int j, auto n) {
      const Vec before = load(s.h + j, n), shown = shown_cell(fresh, q, m, H, j, n);
      Vec h = load(s.gates + j, n) * tanh_of(shown);
      if (zone_h) h += load(zone_h + j, n) * (before - h);
      store(s.h + j, h, n);
      store(s.y + j, h, n);
    });
  }

  // What tanh sees of the cell.
  template <class Extent>
  static Vec shown_cell(const float* fresh, const Sequence& q, Moments m, int H, int j, Extent n) {
    const Vec x = load(fresh + j, n);
    if (!NORM) return x;
    return (x - m.mean) * m.rstd * load(q.options + 4 * H + j, n) + load(q.options + 5 * H + j, n);
  }

  static void backward(const Backward& s, const Sequence& q) {
    const int H = s.H;
    const float *zone_c = zone(q.zone_c, q, s.b, s.t), *zone_h = zone(q.zone_h, q, s.b, s.t);
    const float *update = q.update ? q.update + s.b * H : nullptr, *fresh = s.extra + H;
    const Moments m = NORM ? moments(fresh, H) : Moments{0, 1};
    float* d_shown = s.gates_out + 3 * H;  // until the gradient of g takes its place
    Vec total{}, total_normed{};
    over(H, [&](int j, auto n) {
      const Vec o = load(s.gates + j, n), squashed = tanh_of(shown_cell(fresh, q, m, H, j, n));
      Vec d = load(s.dh + j, n) + load(s.dy + j, n), kept{};
      if (zone_h) kept = d * load(zone_h + j, n), d -= kept;
      store(s.dh + j, kept, n);
      store(s.gates_out + j, d * squashed * o * (1.0f - o), n);
      Vec shown = d * o * (1.0f - squashed * squashed);
      if (NORM) {
        const Vec normed = (load(fresh + j, n) - m.mean) * m.rstd;
        add(s.options + 4 * H + j, shown * normed, n);
        add(s.options + 5 * H + j, shown, n);
        shown *= load(q.options + 4 * H + j, n);  // zero beyond the end of a row, as shown is
        total += shown, total_normed += shown * normed;
      }
      store(d_shown + j, shown, n);
    });
    const float mean = sum(total) / H, mean_normed = sum(total_normed) / H;
    over(H, [&](int j, auto n) {
      const auto gate = [&](int k) { return load(s.gates + k * H + j, n); };
      const Vec i = gate(1), f = gate(2), g = gate(3), before = load(s.c_before + j, n);
      const Vec factor = update ? load(update + j, n) : fill(1.0f);
      Vec shown = load(d_shown + j, n), dc = load(s.dc + j, n), kept{};
      if (NORM) shown = m.rstd * (shown - mean - (load(fresh + j, n) - m.mean) * m.rstd * mean_normed);
      if (zone_c) kept = dc * load(zone_c + j, n), dc -= kept;
      dc += shown;
      store(s.gates_out + H + j, dc * g * factor * i * (1.0f - i), n);
      store(s.gates_out + 2 * H + j, dc * before * f * (1.0f - f), n);
      store(s.gates_out + 3 * H + j, dc * factor * i * (1.0f - g * g), n);
      store(s.dc + j, dc * f + kept, n);
    });
    if (!NORM) {
      std::memcpy(s.recurrent, s.gates_out, sizeof(float) * 4 * H);
      return;
    }
    over(4 * H, [&](int j, auto n) { add(s.options + 10 * H + j, load(s.gates_out + j, n), n); });
    normalise_back(s.gates_out, s.extra + 2 * H, s.extra[10 * H], q.options, 4 * H, s.options, s.recurrent, s.kept);
    normalise_back(s.gates_out, s.extra + 6 * H, s.extra[10 * H + 1], q.options + 6 * H, 4 * H, s.options + 6 * H,
                   s.gates_out, s.gates_out);
  }
};
