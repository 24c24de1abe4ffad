// That this folder's headers say the same as NVIDIA's: the CUDA runtime and cuBLAS. Compiled in every build
// against the former and in the CUDA build against the latter: each value and signature is written down here
// once, and both must have it. That nothing is missing here is checked by conformance_test.cc.
#include "tests/cuda_on_cpu/conformance.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>

// cuda_runtime_api.h
VALUE(cudaSuccess, 0);
VALUE(cudaErrorInvalidValue, 1);
VALUE(cudaErrorMemoryAllocation, 2);
VALUE(cudaErrorInitializationError, 3);
VALUE(cudaErrorInvalidConfiguration, 9);
VALUE(cudaErrorInvalidMemcpyDirection, 21);
VALUE(cudaErrorInsufficientDriver, 35);
VALUE(cudaErrorInvalidDeviceFunction, 98);
VALUE(cudaErrorNoDevice, 100);
VALUE(cudaErrorInvalidDevice, 101);
VALUE(cudaErrorECCUncorrectable, 214);
VALUE(cudaErrorInvalidResourceHandle, 400);
VALUE(cudaErrorIllegalState, 401);
VALUE(cudaErrorNotReady, 600);
VALUE(cudaErrorIllegalAddress, 700);
VALUE(cudaErrorLaunchOutOfResources, 701);
VALUE(cudaErrorContextIsDestroyed, 709);
VALUE(cudaErrorHostMemoryAlreadyRegistered, 712);
VALUE(cudaErrorHostMemoryNotRegistered, 713);
VALUE(cudaErrorLaunchFailure, 719);
VALUE(cudaErrorNotSupported, 801);
VALUE(cudaErrorStreamCaptureUnsupported, 900);
VALUE(cudaErrorStreamCaptureInvalidated, 901);
VALUE(cudaErrorStreamCaptureMerge, 902);
VALUE(cudaErrorStreamCaptureUnmatched, 903);
VALUE(cudaErrorStreamCaptureUnjoined, 904);
VALUE(cudaErrorStreamCaptureIsolation, 905);
VALUE(cudaErrorStreamCaptureImplicit, 906);
VALUE(cudaErrorCapturedEvent, 907);
VALUE(cudaErrorStreamCaptureWrongThread, 908);
VALUE(cudaErrorUnknown, 999);
VALUE(cudaMemcpyHostToHost, 0);
VALUE(cudaMemcpyHostToDevice, 1);
VALUE(cudaMemcpyDeviceToHost, 2);
VALUE(cudaMemcpyDeviceToDevice, 3);
VALUE(cudaMemcpyDefault, 4);
VALUE(cudaMemoryTypeUnregistered, 0);
VALUE(cudaMemoryTypeHost, 1);
VALUE(cudaMemoryTypeDevice, 2);
VALUE(cudaMemoryTypeManaged, 3);
VALUE(cudaStreamCaptureModeGlobal, 0);
VALUE(cudaStreamCaptureModeThreadLocal, 1);
VALUE(cudaStreamCaptureModeRelaxed, 2);
VALUE(cudaStreamCaptureStatusNone, 0);
VALUE(cudaStreamCaptureStatusActive, 1);
VALUE(cudaStreamCaptureStatusInvalidated, 2);
VALUE(cudaFuncAttributeMaxDynamicSharedMemorySize, 8);
VALUE(cudaFuncAttributePreferredSharedMemoryCarveout, 9);
VALUE(cudaDevAttrMaxThreadsPerBlock, 1);
VALUE(cudaDevAttrMaxSharedMemoryPerBlock, 8);
VALUE(cudaDevAttrClockRate, 13);
VALUE(cudaDevAttrMultiProcessorCount, 16);
VALUE(cudaDevAttrMemoryClockRate, 36);
VALUE(cudaDevAttrGlobalMemoryBusWidth, 37);
VALUE(cudaDevAttrL2CacheSize, 38);
VALUE(cudaDevAttrComputeCapabilityMajor, 75);
VALUE(cudaDevAttrComputeCapabilityMinor, 76);
VALUE(cudaDevAttrMaxSharedMemoryPerBlockOptin, 97);
VALUE(cudaStreamDefault, 0x00);
VALUE(cudaStreamNonBlocking, 0x01);
VALUE(cudaEventDefault, 0x00);
VALUE(cudaEventBlockingSync, 0x01);
VALUE(cudaEventDisableTiming, 0x02);
VALUE(cudaHostAllocDefault, 0x00);
VALUE(cudaHostAllocPortable, 0x01);
VALUE(cudaHostAllocMapped, 0x02);
VALUE(cudaHostAllocWriteCombined, 0x04);
VALUE(cudaHostRegisterDefault, 0x00);
// library_types.h
VALUE(CUDA_R_32F, 0);
VALUE(CUDA_R_64F, 1);
VALUE(CUDA_R_16F, 2);
VALUE(CUDA_R_8I, 3);
VALUE(CUDA_R_32I, 10);
VALUE(CUDA_R_16BF, 14);
// cublas_v2.h
VALUE(CUBLAS_STATUS_SUCCESS, 0);
VALUE(CUBLAS_STATUS_NOT_INITIALIZED, 1);
VALUE(CUBLAS_STATUS_ALLOC_FAILED, 3);
VALUE(CUBLAS_STATUS_INVALID_VALUE, 7);
VALUE(CUBLAS_STATUS_ARCH_MISMATCH, 8);
VALUE(CUBLAS_STATUS_MAPPING_ERROR, 11);
VALUE(CUBLAS_STATUS_EXECUTION_FAILED, 13);
VALUE(CUBLAS_STATUS_INTERNAL_ERROR, 14);
VALUE(CUBLAS_STATUS_NOT_SUPPORTED, 15);
VALUE(CUBLAS_STATUS_LICENSE_ERROR, 16);
VALUE(CUBLAS_OP_N, 0);
VALUE(CUBLAS_OP_T, 1);
VALUE(CUBLAS_OP_C, 2);
VALUE(CUBLAS_DEFAULT_MATH, 0);
VALUE(CUBLAS_PEDANTIC_MATH, 2);
VALUE(CUBLAS_TF32_TENSOR_OP_MATH, 3);
VALUE(CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION, 16);
VALUE(CUBLAS_COMPUTE_16F, 64);
VALUE(CUBLAS_COMPUTE_32F, 68);
VALUE(CUBLAS_COMPUTE_32F_PEDANTIC, 69);
VALUE(CUBLAS_COMPUTE_32F_FAST_16BF, 75);
VALUE(CUBLAS_COMPUTE_32F_FAST_TF32, 77);
VALUE(CUBLAS_COMPUTE_64F, 70);
VALUE(CUBLAS_GEMM_DEFAULT, -1);
VALUE(CUBLAS_GEMM_DEFAULT_TENSOR_OP, 99);
VALUE(CUBLAS_ATOMICS_NOT_ALLOWED, 0);
VALUE(CUBLAS_ATOMICS_ALLOWED, 1);

// cuda_runtime_api.h
FUNCTION(cudaGetLastError, cudaError_t (*)());
FUNCTION(cudaPeekAtLastError, cudaError_t (*)());
FUNCTION(cudaGetErrorName, const char* (*)(cudaError_t));
FUNCTION(cudaGetErrorString, const char* (*)(cudaError_t));
FUNCTION(cudaDriverGetVersion, cudaError_t (*)(int*));
FUNCTION(cudaRuntimeGetVersion, cudaError_t (*)(int*));
FUNCTION(cudaGetDeviceCount, cudaError_t (*)(int*));
FUNCTION(cudaGetDevice, cudaError_t (*)(int*));
FUNCTION(cudaSetDevice, cudaError_t (*)(int));
FUNCTION(cudaGetDeviceProperties, cudaError_t (*)(cudaDeviceProp*, int));
FUNCTION(cudaDeviceGetAttribute, cudaError_t (*)(int*, cudaDeviceAttr, int));
FUNCTION(cudaDeviceGetPCIBusId, cudaError_t (*)(char*, int, int));
FUNCTION(cudaDeviceGetStreamPriorityRange, cudaError_t (*)(int*, int*));
FUNCTION(cudaDeviceSynchronize, cudaError_t (*)());
FUNCTION(cudaMemGetInfo, cudaError_t (*)(size_t*, size_t*));
FUNCTION(cudaMalloc, cudaError_t (*)(void**, size_t));
FUNCTION(cudaFree, cudaError_t (*)(void*));
FUNCTION(cudaMallocHost, cudaError_t (*)(void**, size_t));
FUNCTION(cudaHostAlloc, cudaError_t (*)(void**, size_t, unsigned int));
FUNCTION(cudaFreeHost, cudaError_t (*)(void*));
FUNCTION(cudaHostRegister, cudaError_t (*)(void*, size_t, unsigned int));
FUNCTION(cudaHostUnregister, cudaError_t (*)(void*));
FUNCTION(cudaPointerGetAttributes, cudaError_t (*)(cudaPointerAttributes*, const void*));
FUNCTION(cudaMemcpy, cudaError_t (*)(void*, const void*, size_t, cudaMemcpyKind));
FUNCTION(cudaMemcpyAsync, cudaError_t (*)(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t));
FUNCTION(cudaMemcpy2DAsync,
         cudaError_t (*)(void*, size_t, const void*, size_t, size_t, size_t, cudaMemcpyKind, cudaStream_t));
FUNCTION(cudaMemset, cudaError_t (*)(void*, int, size_t));
FUNCTION(cudaMemsetAsync, cudaError_t (*)(void*, int, size_t, cudaStream_t));
FUNCTION(cudaStreamCreate, cudaError_t (*)(cudaStream_t*));
FUNCTION(cudaStreamCreateWithFlags, cudaError_t (*)(cudaStream_t*, unsigned int));
FUNCTION(cudaStreamCreateWithPriority, cudaError_t (*)(cudaStream_t*, unsigned int, int));
FUNCTION(cudaStreamDestroy, cudaError_t (*)(cudaStream_t));
FUNCTION(cudaStreamSynchronize, cudaError_t (*)(cudaStream_t));
FUNCTION(cudaStreamQuery, cudaError_t (*)(cudaStream_t));
FUNCTION(cudaStreamWaitEvent, cudaError_t (*)(cudaStream_t, cudaEvent_t, unsigned int));
FUNCTION(cudaLaunchHostFunc, cudaError_t (*)(cudaStream_t, cudaHostFn_t, void*));
FUNCTION(cudaEventCreate, cudaError_t (*)(cudaEvent_t*));
FUNCTION(cudaEventCreateWithFlags, cudaError_t (*)(cudaEvent_t*, unsigned int));
FUNCTION(cudaEventRecord, cudaError_t (*)(cudaEvent_t, cudaStream_t));
FUNCTION(cudaEventSynchronize, cudaError_t (*)(cudaEvent_t));
FUNCTION(cudaEventQuery, cudaError_t (*)(cudaEvent_t));
FUNCTION(cudaEventElapsedTime, cudaError_t (*)(float*, cudaEvent_t, cudaEvent_t));
FUNCTION(cudaEventDestroy, cudaError_t (*)(cudaEvent_t));
FUNCTION(cudaStreamBeginCapture, cudaError_t (*)(cudaStream_t, cudaStreamCaptureMode));
FUNCTION(cudaStreamEndCapture, cudaError_t (*)(cudaStream_t, cudaGraph_t*));
FUNCTION(cudaStreamIsCapturing, cudaError_t (*)(cudaStream_t, cudaStreamCaptureStatus*));
FUNCTION(cudaGraphGetNodes, cudaError_t (*)(cudaGraph_t, cudaGraphNode_t*, size_t*));
FUNCTION(cudaGraphInstantiate, cudaError_t (*)(cudaGraphExec_t*, cudaGraph_t, unsigned long long));
FUNCTION(cudaGraphLaunch, cudaError_t (*)(cudaGraphExec_t, cudaStream_t));
FUNCTION(cudaGraphDestroy, cudaError_t (*)(cudaGraph_t));
FUNCTION(cudaGraphExecDestroy, cudaError_t (*)(cudaGraphExec_t));
FUNCTION(cudaFuncSetAttribute, cudaError_t (*)(const void*, cudaFuncAttribute, int));
FUNCTION(cudaFuncGetAttributes, cudaError_t (*)(cudaFuncAttributes*, const void*));
// cublas_v2.h
FUNCTION(cublasGetStatusName, const char* (*)(cublasStatus_t));
FUNCTION(cublasGetStatusString, const char* (*)(cublasStatus_t));
FUNCTION(cublasCreate, cublasStatus_t (*)(cublasHandle_t*));
FUNCTION(cublasDestroy, cublasStatus_t (*)(cublasHandle_t));
FUNCTION(cublasGetVersion, cublasStatus_t (*)(cublasHandle_t, int*));
FUNCTION(cublasSetStream, cublasStatus_t (*)(cublasHandle_t, cudaStream_t));
FUNCTION(cublasGetStream, cublasStatus_t (*)(cublasHandle_t, cudaStream_t*));
FUNCTION(cublasSetWorkspace, cublasStatus_t (*)(cublasHandle_t, void*, size_t));
FUNCTION(cublasSetMathMode, cublasStatus_t (*)(cublasHandle_t, cublasMath_t));
FUNCTION(cublasGetMathMode, cublasStatus_t (*)(cublasHandle_t, cublasMath_t*));
FUNCTION(cublasSetAtomicsMode, cublasStatus_t (*)(cublasHandle_t, cublasAtomicsMode_t));
FUNCTION(cublasSgemm,
         cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const float*,
                            const float*, int, const float*, int, const float*, float*, int));
FUNCTION(cublasGemmEx,
         cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                            const void*, cudaDataType, int, const void*, cudaDataType, int, const void*,
                            void*, cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t));
FUNCTION(cublasGemmStridedBatchedEx,
         cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                            const void*, cudaDataType, int, long long int, const void*, cudaDataType, int,
                            long long int, const void*, void*, cudaDataType, int, long long int, int,
                            cublasComputeType_t, cublasGemmAlgo_t));
FUNCTION(cublasGemmGroupedBatchedEx,
         cublasStatus_t (*)(cublasHandle_t, const cublasOperation_t*, const cublasOperation_t*, const int*,
                            const int*, const int*, const void*, const void* const*, cudaDataType_t,
                            const int*, const void* const*, cudaDataType_t, const int*, const void*,
                            void* const*, cudaDataType_t, const int*, int, const int*, cublasComputeType_t));

// Fields that the product reads.
static_assert(std::is_same_v<decltype(cudaDeviceProp::name), char[256]>);
static_assert(std::is_same_v<decltype(cudaDeviceProp::uuid), cudaUUID_t> && sizeof(cudaUUID_t) == 16);
static_assert(std::is_same_v<decltype(cudaDeviceProp::totalGlobalMem), std::size_t>);
static_assert(std::is_same_v<decltype(cudaDeviceProp::major), int> &&
              std::is_same_v<decltype(cudaDeviceProp::minor), int>);
static_assert(std::is_same_v<decltype(cudaDeviceProp::multiProcessorCount), int>);
static_assert(std::is_same_v<decltype(cudaDeviceProp::sharedMemPerBlockOptin), std::size_t>);
static_assert(std::is_same_v<decltype(cudaDeviceProp::l2CacheSize), int>);
static_assert(std::is_same_v<decltype(cudaDeviceProp::memoryBusWidth), int>);
static_assert(std::is_same_v<decltype(cudaPointerAttributes::type), cudaMemoryType>);
static_assert(std::is_same_v<decltype(cudaFuncAttributes::maxDynamicSharedSizeBytes), int>);
static_assert(sizeof(float2) == 8 && alignof(float2) == 8 && sizeof(float4) == 16 && alignof(float4) == 16);
static_assert(sizeof(uint4) == 16 && alignof(uint4) == 16 && sizeof(uint2) == 8 && alignof(uint2) == 8);
static_assert(sizeof(ushort4) == 8 && alignof(ushort4) == 8 && sizeof(dim3) == 12 && sizeof(float3) == 12);
static_assert(sizeof(__nv_bfloat16) == 2 && alignof(__nv_bfloat16) == 2);
static_assert(sizeof(__nv_bfloat162) == 4 && alignof(__nv_bfloat162) == 4);
