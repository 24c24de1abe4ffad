// The C interface of libretort_cuda.so: what a program finds with dlsym (device.h does).
//
// The library and the program are built by one compiler from one tree, and a Backend crosses between them, so
// the program first asks RetortCudaVersion and refuses another number than its own kBackendVersion.
#ifndef STUDENT_DEVICE_CUDA_LIBRARY_H_
#define STUDENT_DEVICE_CUDA_LIBRARY_H_

namespace retort::student {
class Backend;
class World;
struct RankPlace;
}  // namespace retort::student

extern "C" {

// kBackendVersion of the library's build.
typedef int RetortCudaVersionFunction();

// Writes one sentence about the devices that the driver shows into text[0, size), ended by a NUL (cut when
// longer), and returns how many there are: 0 when the driver is missing, too old, or shows none, with its
// error number in the text.
typedef int RetortCudaDescribeFunction(char* text, unsigned long size);

// A Backend on device `ordinal`, to be deleted by the caller; bf16: 0 or 1. Null with a sentence in text.
typedef retort::student::Backend* RetortCudaOpenFunction(int ordinal, int bf16, char* text,
                                                         unsigned long size);

// The two below are there when the library was built with NCCL (cuda/nccl_world.h).
//
// Writes a new id into id[0, 128) and returns 128; 0 with a sentence in text.
typedef int RetortNcclIdFunction(char* id, char* text, unsigned long size);

// The ranks on devices, to be deleted by the caller. Null with a sentence in text.
typedef retort::student::World* RetortNcclJoinFunction(const retort::student::RankPlace* place,
                                                       const char* id, unsigned long id_bytes, int ordinal,
                                                       long join_patience_ms, long patience_ms, char* text,
                                                       unsigned long size);
}

#endif  // STUDENT_DEVICE_CUDA_LIBRARY_H_
