// That this folder's headers say the same as NVIDIA's: NCCL. Compiled in every build against the former and
// in the CUDA build against the latter: each value and signature is written down here once, and both must
// have it. That nothing is missing here is checked by conformance_test.cc.
#include <nccl.h>

#include "tests/cuda_on_cpu/conformance.h"

VALUE(ncclSuccess, 0);
VALUE(ncclUnhandledCudaError, 1);
VALUE(ncclSystemError, 2);
VALUE(ncclInternalError, 3);
VALUE(ncclInvalidArgument, 4);
VALUE(ncclInvalidUsage, 5);
VALUE(ncclRemoteError, 6);
VALUE(ncclInProgress, 7);
VALUE(ncclSum, 0);
VALUE(ncclProd, 1);
VALUE(ncclMax, 2);
VALUE(ncclMin, 3);
VALUE(ncclAvg, 4);
VALUE(ncclInt8, 0);
VALUE(ncclChar, 0);
VALUE(ncclUint8, 1);
VALUE(ncclInt32, 2);
VALUE(ncclInt, 2);
VALUE(ncclUint32, 3);
VALUE(ncclInt64, 4);
VALUE(ncclUint64, 5);
VALUE(ncclFloat32, 7);
VALUE(ncclFloat, 7);
VALUE(ncclFloat64, 8);
VALUE(ncclDouble, 8);
VALUE(ncclBfloat16, 9);
VALUE(NCCL_MAJOR, 2);
VALUE(NCCL_UNIQUE_ID_BYTES, 128);
VALUE(NCCL_CONFIG_UNDEF_INT, INT_MIN);
VALUE(NCCL_SPLIT_NOCOLOR, -1);

FUNCTION(ncclGetVersion, ncclResult_t (*)(int*));
FUNCTION(ncclGetErrorString, const char* (*)(ncclResult_t));
FUNCTION(ncclGetLastError, const char* (*)(ncclComm_t));
FUNCTION(ncclGetUniqueId, ncclResult_t (*)(ncclUniqueId*));
FUNCTION(ncclCommInitRank, ncclResult_t (*)(ncclComm_t*, int, ncclUniqueId, int));
FUNCTION(ncclCommInitRankConfig, ncclResult_t (*)(ncclComm_t*, int, ncclUniqueId, int, ncclConfig_t*));
FUNCTION(ncclCommSplit, ncclResult_t (*)(ncclComm_t, int, int, ncclComm_t*, ncclConfig_t*));
FUNCTION(ncclCommFinalize, ncclResult_t (*)(ncclComm_t));
FUNCTION(ncclCommDestroy, ncclResult_t (*)(ncclComm_t));
FUNCTION(ncclCommAbort, ncclResult_t (*)(ncclComm_t));
FUNCTION(ncclCommGetAsyncError, ncclResult_t (*)(ncclComm_t, ncclResult_t*));
FUNCTION(ncclCommCount, ncclResult_t (*)(const ncclComm_t, int*));
FUNCTION(ncclCommCuDevice, ncclResult_t (*)(const ncclComm_t, int*));
FUNCTION(ncclCommUserRank, ncclResult_t (*)(const ncclComm_t, int*));
FUNCTION(ncclAllReduce,
         ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t));
FUNCTION(ncclReduce, ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, int,
                                      ncclComm_t, cudaStream_t));
FUNCTION(ncclReduceScatter,
         ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t));
FUNCTION(ncclAllGather,
         ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, ncclComm_t, cudaStream_t));
FUNCTION(ncclBroadcast,
         ncclResult_t (*)(const void*, void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t));
FUNCTION(ncclSend, ncclResult_t (*)(const void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t));
FUNCTION(ncclRecv, ncclResult_t (*)(void*, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t));
FUNCTION(ncclGroupStart, ncclResult_t (*)());
FUNCTION(ncclGroupEnd, ncclResult_t (*)());

static_assert(std::is_same_v<decltype(ncclConfig_t::blocking), int> && sizeof(ncclUniqueId) == 128);
