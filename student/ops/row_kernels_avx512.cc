#include "student/ops/row_kernels_vector.h"

namespace retort::student {

extern const RowKernels kRowKernelsAvx512;
const RowKernels kRowKernelsAvx512 = kVectorRowKernels;

}  // namespace retort::student
