// Which instruction sets the fast paths may use, chosen at run time.
#ifndef STUDENT_TENSOR_ISA_H_
#define STUDENT_TENSOR_ISA_H_

namespace retort::student {

enum class Isa {
  kPlain,   // portable C++: the truth that the others are tested against
  kAvx2,    // AVX2 and FMA
  kAvx512,  // AVX-512 F, DQ, BW, VL
};

// The best one that this binary has code for and this processor and operating system support.
Isa BestIsa();
// Whether this machine can run it. kPlain always can.
bool IsaSupported(Isa isa);
const char* IsaName(
    Isa isa);  // "plain", "avx2", "avx512": recorded in manifests, since bits are promised per ISA

}  // namespace retort::student

#endif  // STUDENT_TENSOR_ISA_H_
