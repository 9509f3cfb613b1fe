// The time loops of recurrent cells, for `rnntrain.native`: plain C functions over float32 memory, with no headers but
// the standard library's and our own. Each returns 0, or 1 where memory ran out.

#include "cells.h"
#include "gated_cells.h"
#include "lru.h"
#include "more_cells.h"
#include "noisy_gru.h"
#include "noisy_lstm.h"
#include "scan.h"
#include "step.h"

#define RECURRENCE(NAME, ...)                                                                          \
  int NAME##_forward(const Sequence* s, int threads) { return run_forward<__VA_ARGS__>(*s, threads); } \
  int NAME##_backward(const Sequence* s, const Gradients* g, int threads) {                            \
    return run_backward<__VA_ARGS__>(*s, *g, threads);                                                 \
  }

#define WITH_STEP(NAME, ...)     \
  RECURRENCE(NAME, __VA_ARGS__) \
  int NAME##_step(const Sequence* s, int) { return run_step<__VA_ARGS__>(*s); }

#define GATED(NAME, ...)                                                                        \
  int NAME##_forward(const Gated* s, int threads) { return run_gated<__VA_ARGS__>(*s, threads); } \
  int NAME##_backward(const Gated* s, const GatedGradients* g, int threads) {                   \
    return run_gated_back<__VA_ARGS__>(*s, *g, threads);                                        \
  }                                                                                             \
  int NAME##_step(const Gated* s, int) { return run_gated_step<__VA_ARGS__>(*s); }

extern "C" {
WITH_STEP(rnn_tanh, Rnn<false>)
WITH_STEP(rnn_relu, Rnn<true>)
WITH_STEP(gru, Gru)
RECURRENCE(gru_reset_before, GruResetBefore)
WITH_STEP(lstm, Lstm<false>)
WITH_STEP(peephole_lstm, Lstm<true>)
WITH_STEP(noisy_lstm, NoisyLstm<false>)
WITH_STEP(layer_norm_lstm, NoisyLstm<true>)
WITH_STEP(noisy_gru, NoisyGru<false>)
WITH_STEP(layer_norm_gru, NoisyGru<true>)
WITH_STEP(coupled_lstm, CoupledLstm)
WITH_STEP(janet, Janet)
WITH_STEP(leaky_tanh, Leaky<false>)
WITH_STEP(leaky_relu, Leaky<true>)
WITH_STEP(clockwork, Clockwork)
WITH_STEP(slstm, Slstm)
WITH_STEP(projected_lstm, ProjectedLstm)
WITH_STEP(antisymmetric, Antisymmetric<false>)
WITH_STEP(antisymmetric_gated, Antisymmetric<true>)
WITH_STEP(cornn, CoRnn)
WITH_STEP(skip, SkipRnn)

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
