// The C interface of libretort_cuda.so: what a program finds with dlsym. Plain C types only, so that device
// files know no other library of the project.
#ifndef STUDENT_DEVICE_CUDA_LIBRARY_H_
#define STUDENT_DEVICE_CUDA_LIBRARY_H_

extern "C" {

// Writes one sentence about the devices that the driver shows into text[0, size), ended by a NUL (cut when
// longer), and returns how many there are: 0 when the driver is missing, too old, or shows none, with its
// error number in the text. Also makes and destroys a cuBLAS handle on the first device; a device on which
// that fails does not count.
typedef int RetortCudaProbe(char* text, unsigned long size);
}

#endif  // STUDENT_DEVICE_CUDA_LIBRARY_H_
