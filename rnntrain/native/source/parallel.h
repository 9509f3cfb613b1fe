// Threads of the OpenMP runtime that PyTorch has loaded already, so that both share one pool; serial without OpenMP.

#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <cstddef>
#include <cstdlib>
#include <memory>

// Calls body(thread, num_threads) in each thread.
template <class Body>
void in_parallel(int threads, Body body) {
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    body(omp_get_thread_num(), omp_get_num_threads());
    return;
  }
#endif
  body(0, 1);
}

// Waits for all threads of the current `in_parallel`.
inline void meet(int num_threads) {
#ifdef _OPENMP
  if (num_threads > 1) {
#pragma omp barrier
  }
#else
  (void)num_threads;
#endif
}

// The share of n things that falls to one thread.
struct Share {
  int begin, end;
  Share(int n, int thread, int num_threads)
      : begin(static_cast<int>(static_cast<int64_t>(n) * thread / num_threads)),
        end(static_cast<int>(static_cast<int64_t>(n) * (thread + 1) / num_threads)) {}
};

// Memory for the time of one call, handed out in pieces that begin on a cache line.
class Scratch {
 public:
  static size_t rounded(size_t count) { return (count + 15) / 16 * 16; }
  explicit Scratch(size_t count)
      : begin_(static_cast<float*>(std::aligned_alloc(64, rounded(count + 16) * sizeof(float)))), next_(begin_.get()) {}
  explicit operator bool() const { return begin_ != nullptr; }
  float* take(size_t count) {
    float* piece = next_;
    next_ += rounded(count);
    return piece;
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> begin_;
  float* next_;
};
