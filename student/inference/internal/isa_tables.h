// The kernel tables, each compiled with the flags of its instruction set. Ask cpu_kernels.h for them: it
// knows the CPU.
#ifndef STUDENT_INFERENCE_INTERNAL_ISA_TABLES_H_
#define STUDENT_INFERENCE_INTERNAL_ISA_TABLES_H_

#include "student/inference/cpu_kernels.h"

namespace retort::student {

const CpuKernels& PlainKernels();
#if defined(__x86_64__)
const CpuKernels& Avx2Kernels();
const CpuKernels& Avx512Kernels();
const CpuKernels& Avx512VnniKernels();
#endif

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_INTERNAL_ISA_TABLES_H_
