// Vectors of the widest kind that the processor has, and the functions of a recurrence over them.
//
// Built on the vector types of GCC and Clang, so one source serves AVX-512, AVX2, SSE and NEON. NaN passes through
// every function, and no flag may be set that would change that (-ffast-math does).

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// How many numbers a vector holds, and the largest tile of a product (rows × vectors) that stays in registers.
#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 6, TILE_VECTORS = 4;
#elif defined(__AVX__)
constexpr int LANES = 8, TILE_ROWS = 4, TILE_VECTORS = 3;
#elif defined(__aarch64__)
constexpr int LANES = 4, TILE_ROWS = 6, TILE_VECTORS = 4;
#else
constexpr int LANES = 4, TILE_ROWS = 4, TILE_VECTORS = 2;
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef float UnalignedVec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

// A whole vector, or the first few numbers of one at the end of a row.
struct Whole {
  static constexpr int count = LANES;
};
struct Part {
  int count;
};

inline Vec load(const float* from, Whole) { return *reinterpret_cast<const UnalignedVec*>(from); }
inline void store(float* to, Vec x, Whole) { *reinterpret_cast<UnalignedVec*>(to) = x; }
inline Vec load(const float* from, Part part) {
  Vec x{};
  std::memcpy(&x, from, sizeof(float) * part.count);
  return x;
}
inline void store(float* to, Vec x, Part part) { std::memcpy(to, &x, sizeof(float) * part.count); }

inline Vec fill(float x) { return Vec{} + x; }

// Calls body(j, extent) for every vector of a row of n numbers.
template <class Body>
inline void over(int n, Body body) {
  int j = 0;
  for (; j + LANES <= n; j += LANES) body(j, Whole{});
  if (j < n) body(j, Part{n - j});
}

inline float sum(Vec x) {
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += x[i];
  return total;
}

// e^x for |x| <= 87, beyond which it stays where it is: 2^k · e^r with |r| <= ln 2 / 2; error below 2e-7 relative.
inline Vec exp_of(Vec x) {
  x = x > 87.0f ? fill(87.0f) : x;  // false for NaN, which therefore stays
  x = x < -87.0f ? fill(-87.0f) : x;
  const float shift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer in the low bits
  const Vec shifted = x * 1.44269504f + shift;
  const Vec k = shifted - shift;
  const Vec r = (x - k * 0.693359375f) + k * 2.12194440e-4f;  // ln 2 in two parts, the first exact
  Vec p = r * 1.3933652e-3f + 8.3631817e-3f;
  p = p * r + 4.1666467e-2f;
  p = p * r + 1.6666576e-1f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  const Ints scale = ((Ints)shifted + (127 - 0x4B400000)) << 23;
  return p * (Vec)scale;
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp_of(-x)); }

// A polynomial where cancellation would spoil the other form, 1 - 2 / (1 + e^2|x|) elsewhere.
inline Vec tanh_of(Vec x) {
  const Ints sign_bit = (Ints)x & (int32_t)0x80000000;
  const Vec size = (Vec)((Ints)x & 0x7FFFFFFF);
  const Vec large = 1.0f - 2.0f / (1.0f + exp_of(size + size));
  const Vec s = x * x;
  Vec p = s * -6.1049480e-3f + 2.1003641e-2f;
  p = p * s - 5.3852499e-2f;
  p = p * s + 1.3332783e-1f;
  p = p * s - 3.3333328e-1f;
  const Vec small = x + x * (s * p);
  return size < 0.625f ? small : (Vec)((Ints)large | sign_bit);
}

// log σ(x) = min(x, 0) - log(1 + u), u = e^-|x|, where the logarithm is 2 artanh(s), s = u / (2 + u) <= 1/3.
inline Vec log_sigmoid(Vec x) {
  const Vec u = exp_of((Vec)((Ints)x | (int32_t)0x80000000)), s = u / (2.0f + u), square = s * s;
  Vec p = square * 0.0769230769f + 0.0909090909f;
  p = p * square + 0.1111111111f;
  p = p * square + 0.1428571429f;
  p = p * square + 0.2f;
  p = p * square + 0.3333333333f;
  return (x > 0.0f ? Vec{} : x) - 2.0f * (s + s * (square * p));
}
