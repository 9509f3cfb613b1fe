// The time loops of recurrent cells, for `rnntrain.native`: plain C functions over float32 memory, with no headers but
// the standard library's and our own. Each returns 0, or 1 where memory ran out.

#include "cells.h"
#include "noisy_lstm.h"
#include "pool.h"

#define RECURRENCE(NAME, ...)                                                                          \
  int NAME##_forward(const Sequence* s, int threads) { return run_forward<__VA_ARGS__>(*s, threads); } \
  int NAME##_backward(const Sequence* s, const Gradients* g, int threads) {                            \
    return run_backward<__VA_ARGS__>(*s, *g, threads);                                                 \
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

int scan_forward(const Scan* s, int threads) { return run_scan<Real>(*s, threads); }
int scan_backward(const Scan* s, const ScanGradients* g, int threads) { return run_scan_back<Real>(*s, *g, threads); }
int complex_scan_forward(const Scan* s, int threads) { return run_scan<Complex>(*s, threads); }
int complex_scan_backward(const Scan* s, const ScanGradients* g, int threads) {
  return run_scan_back<Complex>(*s, *g, threads);
}

int pool_forward(const Pool* s, int threads) {
  if (s->candidate == 1) return run_pool<1>(*s, threads);
  return s->candidate == 2 ? run_pool<2>(*s, threads) : run_pool<0>(*s, threads);
}

int pool_backward(const Pool* s, const PoolGradients* g, int threads) {
  if (s->candidate == 1) return run_pool_back<1>(*s, *g, threads);
  return s->candidate == 2 ? run_pool_back<2>(*s, *g, threads) : run_pool_back<0>(*s, *g, threads);
}
}
