#include "student/inference/cpu_kernels.h"

#include "student/inference/internal/isa_tables.h"

namespace retort::student {

const CpuKernels* FindCpuKernels(InferenceIsa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  switch (isa) {
    case InferenceIsa::kPlain:
      return &PlainKernels();
    case InferenceIsa::kAvx2:
      return avx2 ? &Avx2Kernels() : nullptr;
    case InferenceIsa::kAvx512:
      return avx512 ? &Avx512Kernels() : nullptr;
    case InferenceIsa::kAvx512Vnni:
      return vnni ? &Avx512VnniKernels() : nullptr;
  }
  return nullptr;
#else
  return isa == InferenceIsa::kPlain ? &PlainKernels() : nullptr;
#endif
}

const CpuKernels& BestCpuKernels() {
  static const CpuKernels& best = []() -> const CpuKernels& {
    for (const InferenceIsa isa : {InferenceIsa::kAvx512Vnni, InferenceIsa::kAvx512, InferenceIsa::kAvx2}) {
      if (const CpuKernels* kernels = FindCpuKernels(isa); kernels != nullptr) return *kernels;
    }
    return PlainKernels();
  }();
  return best;
}

}  // namespace retort::student
