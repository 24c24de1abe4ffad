// VALUE(name, number) and FUNCTION(name, type): do not compile when a header says otherwise.
#ifndef TESTS_CUDA_ON_CPU_CONFORMANCE_H_
#define TESTS_CUDA_ON_CPU_CONFORMANCE_H_

#include <type_traits>

#define VALUE(name, number) static_assert(static_cast<long long>(name) == (number), #name)
// Of overloads (NVIDIA keeps older signatures for C++) one must be exactly this.
#define FUNCTION(name, ...) \
  [[maybe_unused]] constexpr std::type_identity_t<__VA_ARGS__> name##_is_there = &name

#endif  // TESTS_CUDA_ON_CPU_CONFORMANCE_H_
