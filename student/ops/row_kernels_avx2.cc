#include "student/ops/row_kernels_vector.h"

namespace retort::student {

extern const RowKernels kRowKernelsAvx2;
const RowKernels kRowKernelsAvx2 = kVectorRowKernels;

}  // namespace retort::student
