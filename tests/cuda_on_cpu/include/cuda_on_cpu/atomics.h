// Atomics on integers, as on the device: each returns the value before. There are none on floating point
// numbers: an order of additions that depends on timing is not repeatable, and a kernel that tries one does
// not compile here.
#ifndef TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_ATOMICS_H_
#define TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_ATOMICS_H_

namespace retort::cuda_on_cpu {

template <class T, class Next>
T AtomicUpdate(T* address, Next next) {
  T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (
      !__atomic_compare_exchange_n(address, &seen, next(seen), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}

}  // namespace retort::cuda_on_cpu

#define RETORT_CUDA_ON_CPU_ATOMICS(T)                                                                  \
  inline T atomicAdd(T* address, T value) {                                                            \
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);                                       \
  }                                                                                                    \
  inline T atomicExch(T* address, T value) {                                                           \
    return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);                                      \
  }                                                                                                    \
  inline T atomicAnd(T* address, T value) {                                                            \
    return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);                                       \
  }                                                                                                    \
  inline T atomicOr(T* address, T value) {                                                             \
    return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);                                        \
  }                                                                                                    \
  inline T atomicXor(T* address, T value) {                                                            \
    return __atomic_fetch_xor(address, value, __ATOMIC_RELAXED);                                       \
  }                                                                                                    \
  inline T atomicCAS(T* address, T expected, T value) {                                                \
    __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
    return expected;                                                                                   \
  }                                                                                                    \
  inline T atomicMin(T* address, T value) {                                                            \
    return retort::cuda_on_cpu::AtomicUpdate(address,                                                  \
                                             [value](T seen) { return value < seen ? value : seen; }); \
  }                                                                                                    \
  inline T atomicMax(T* address, T value) {                                                            \
    return retort::cuda_on_cpu::AtomicUpdate(address,                                                  \
                                             [value](T seen) { return seen < value ? value : seen; }); \
  }
RETORT_CUDA_ON_CPU_ATOMICS(int)
RETORT_CUDA_ON_CPU_ATOMICS(unsigned int)
RETORT_CUDA_ON_CPU_ATOMICS(unsigned long long)
#undef RETORT_CUDA_ON_CPU_ATOMICS
inline int atomicSub(int* address, int value) {
  return __atomic_fetch_sub(address, value, __ATOMIC_RELAXED);
}
inline unsigned atomicSub(unsigned* address, unsigned value) {
  return __atomic_fetch_sub(address, value, __ATOMIC_RELAXED);
}
float atomicAdd(float*, float) = delete;
double atomicAdd(double*, double) = delete;

#endif  // TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_ATOMICS_H_
