// What the linear recurrent unit is given, what it makes of its weights, and where its gradients are summed.

#pragma once

#include "backward.h"

extern "C" {
// P is 2H where the eigenvalues are complex, all real parts before all imaginary ones, and else H.
struct Lru {
  int64_t B, T, D, H, chunk;  // steps that are run at once, at most OUTER_STEPS
  const int64_t* lengths;   // valid steps of each row, or null
  const float* x;           // (B, T, D)
  const float* to_state;    // (P, D)
  const float* eigenvalues; // (P)
  const float* from_state;  // (H, P)
  const float* past;        // (H, D)
  const float* past_bias;   // (H)
  const float* glu;         // (2H, H)
  const float* glu_bias;    // (2H)
  const float* s0;          // (B, P)
  float* y;                 // (B, T, H)
  float* s_last;            // (B, P)
  float* starts;            // (B, chunks, P): the state before each chunk
};

struct LruGradients {
  const float* y;  // each of the first two may be null, for zero
  const float* s_last;
  float* x;        // null where nobody asks for it
  float* to_state;
  float* eigenvalues;
  float* from_state;
  float* past;
  float* past_bias;
  float* glu;
  float* glu_bias;
  float* s0;
};
}

// Φ(x) and φ(x) of the normal distribution, to 1e-7 (Abramowitz and Stegun, 7.1.26).
struct Normal {
  Vec below, density;
  explicit Normal(Vec x) {
    const Vec size = (Vec)((Ints)x & 0x7FFFFFFF), t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * size);
    const Vec e = exp_of(-0.5f * x * x);
    Vec p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const Vec tail = 0.5f * p * t * e;
    below = x < 0.0f ? tail : 1.0f - tail;
    density = e * 0.39894228f;
  }
};

// The right factors, packed for the forward pass and, transposed, for the gradients of what they are multiplied by.
struct LruFactors {
  size_t to_state, from_state, past, glu, size, to_state_back, from_state_back, past_back, glu_back, size_back;
  LruFactors(int D, int H, int P) {
    const auto packed = [](int K, int N) { return Scratch::rounded(static_cast<size_t>(K) * padded(N)); };
    to_state = 0, from_state = packed(D, P), past = from_state + packed(P, H), glu = past + packed(D, H);
    size = glu + packed(H, 2 * H);
    to_state_back = size, from_state_back = size + packed(P, D), past_back = from_state_back + packed(H, P);
    glu_back = past_back + packed(H, D), size_back = glu_back + packed(2 * H, H);
  }

  void pack(const Lru& s, int P, float* to, bool back, int thread, int num_threads) const {
    const int D = s.D, H = s.H;
    pack_share(to + to_state, s.to_state, D, P, 1, D, thread, num_threads);
    pack_share(to + from_state, s.from_state, P, H, 1, P, thread, num_threads);
    pack_share(to + past, s.past, D, H, 1, D, thread, num_threads);
    pack_share(to + glu, s.glu, H, 2 * H, 1, H, thread, num_threads);
    if (!back) return;
    pack_share(to + to_state_back, s.to_state, P, D, D, 1, thread, num_threads);
    pack_share(to + from_state_back, s.from_state, H, P, P, 1, thread, num_threads);
    pack_share(to + past_back, s.past, H, D, D, 1, thread, num_threads);
    pack_share(to + glu_back, s.glu, 2 * H, H, H, 1, thread, num_threads);
  }
};

// Where the parts of one thread's sums lie.
struct LruSums {
  size_t to_state, eigenvalues, from_state, past, past_bias, glu, glu_bias, size;
  LruSums(size_t D, size_t H, size_t P)
      : to_state(0), eigenvalues(Scratch::rounded(P * D)), from_state(eigenvalues + Scratch::rounded(P)),
        past(from_state + Scratch::rounded(H * P)), past_bias(past + Scratch::rounded(H * D)),
        glu(past_bias + Scratch::rounded(H)), glu_bias(glu + Scratch::rounded(2 * H * H)),
        size(glu_bias + Scratch::rounded(2 * H)) {}
};
