// A fibre: a stack of its own and a place to continue. Switching costs a few nanoseconds on x86-64 (own
// assembly) and a system call elsewhere (ucontext). AddressSanitizer is told of each switch.
#ifndef TESTS_CUDA_ON_CPU_FIBRE_H_
#define TESTS_CUDA_ON_CPU_FIBRE_H_

#include <cstddef>
#include <memory>

namespace retort::cuda_on_cpu {

struct FibreContext;

// Made and used by one thread at a time. `entry` runs at the first switch and must never return.
class Fibre {
 public:
  Fibre();  // stands for the caller's own stack, to be switched away from
  explicit Fibre(void (*entry)());
  ~Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  // Continues `to`; returns when someone switches back to `from`, which is the running fibre.
  static void Switch(Fibre* from, Fibre* to);

 private:
  std::unique_ptr<FibreContext> context_;
};

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_FIBRE_H_
