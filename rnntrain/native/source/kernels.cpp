// The time loops of recurrent cells, for `rnntrain.native`: plain C functions over float32 memory, with no headers but
// the standard library's and our own. Each returns 0, or 1 where memory ran out.

#include "cells.h"
#include "gated_cells.h"
#include "lru.h"
#include "more_cells.h"
#include "noisy_gru.h"
#include "noisy_lstm.h"
#include "scan.h"

#define RECURRENCE(NAME, ...)                                                                          \
  int NAME##_forward(const Sequence* s, int threads) { return run_forward<__VA_ARGS__>(*s, threads); } \
  int NAME##_backward(const Sequence* s, const Gradients* g, int threads) {                            \
    return run_backward<__VA_ARGS__>(*s, *g, threads);                                                 \
  }

#define GATED(NAME, ...)                                                                        \
  int NAME##_forward(const Gated* s, int threads) { return run_gated<__VA_ARGS__>(*s, threads); } \
  int NAME##_backward(const Gated* s, const GatedGradients* g, int threads) {                   \
    return run_gated_back<__VA_ARGS__>(*s, *g, threads);                                        \
  }

extern "C" {
RECURRENCE(rnn_tanh, Rnn<false>)
RECURRENCE(rnn_relu, Rnn<true>)
RECURRENCE(gru, Gru)
RECURRENCE(gru_reset_before, GruResetBefore)
RECURRENCE(lstm, Lstm<false>)
RECURRENCE(peephole_lstm, Lstm<true>)
RECURRENCE(noisy_lstm, NoisyLstm<false>)
RECURRENCE(layer_norm_lstm, NoisyLstm<true>)
RECURRENCE(noisy_gru, NoisyGru<false>)
RECURRENCE(layer_norm_gru, NoisyGru<true>)
RECURRENCE(coupled_lstm, CoupledLstm)
RECURRENCE(janet, Janet)
RECURRENCE(leaky_tanh, Leaky<false>)
RECURRENCE(leaky_relu, Leaky<true>)
RECURRENCE(clockwork, Clockwork)
RECURRENCE(slstm, Slstm)
RECURRENCE(projected_lstm, ProjectedLstm)
RECURRENCE(antisymmetric, Antisymmetric<false>)
RECURRENCE(antisymmetric_gated, Antisymmetric<true>)
RECURRENCE(cornn, CoRnn)
RECURRENCE(skip, SkipRnn)

int lru_real_forward(const Lru* s, int threads) { return run_lru<false>(*s, threads); }
int lru_real_backward(const Lru* s, const LruGradients* g, int threads) { return run_lru_back<false>(*s, *g, threads); }
int lru_complex_forward(const Lru* s, int threads) { return run_lru<true>(*s, threads); }
int lru_complex_backward(const Lru* s, const LruGradients* g, int threads) {
  return run_lru_back<true>(*s, *g, threads);
}

int scan_forward(const Scan* s, int threads) { return run_scan<Real>(*s, threads); }
int scan_backward(const Scan* s, const ScanGradients* g, int threads) { return run_scan_back<Real>(*s, *g, threads); }
int complex_scan_forward(const Scan* s, int threads) { return run_scan<Complex>(*s, threads); }
int complex_scan_backward(const Scan* s, const ScanGradients* g, int threads) {
  return run_scan_back<Complex>(*s, *g, threads);
}

GATED(mingru, MinGru<false>)
GATED(mingru_positive, MinGru<true>)
GATED(minlstm, MinLstm<false>)
GATED(minlstm_positive, MinLstm<true>)
GATED(sru, Sru<false>)
GATED(sru_projected, Sru<true>)
GATED(qrnn, Qrnn)
GATED(gated_linear, GatedLinear<false>)
GATED(gated_linear_negative, GatedLinear<true>)
GATED(rglru, RgLru)
GATED(indrnn_tanh, IndRnn<false>)
GATED(indrnn_relu, IndRnn<true>)
}
