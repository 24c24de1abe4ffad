// The backend of one CUDA device: kernels of student/ops/*.cu, matrix products of cuBLAS, one stream. For the
// CUDA compiler and the rig; programs reach it through libretort_cuda.so (device.h, cuda_library.h).
#ifndef STUDENT_DEVICE_CUDA_CUDA_BACKEND_H_
#define STUDENT_DEVICE_CUDA_CUDA_BACKEND_H_

#include <memory>
#include <string>

#include "student/device/backend.h"

namespace retort::student {

// Opens device `ordinal` for fp32 or bf16. Null with *problem, one sentence with the driver's number in
// parentheses, when there is no driver or one that is too old (35), no device (100), no such ordinal, a
// device older than compute capability 8.0, or cuBLAS does not start.
std::unique_ptr<Backend> OpenCudaBackend(int ordinal, Element activation, std::string* problem);

// The number of devices; 0 with *problem when there is none. One sentence about them otherwise.
int DescribeCudaDevices(std::string* text);

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_CUDA_BACKEND_H_
