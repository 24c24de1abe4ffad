// Devices, errors, and what a test controls.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/cuda_on_cpu/runtime.h"

namespace retort::cuda_on_cpu {
namespace {

thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
#define RETORT_ERROR(name, text) \
  { name, #name, text }
    RETORT_ERROR(cudaSuccess, "no error"),
    RETORT_ERROR(cudaErrorInvalidValue, "invalid argument"),
    RETORT_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    RETORT_ERROR(cudaErrorInitializationError, "initialization error"),
    RETORT_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    RETORT_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    RETORT_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    RETORT_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    RETORT_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    RETORT_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    RETORT_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    RETORT_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    RETORT_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    RETORT_ERROR(cudaErrorNotReady, "device not ready"),
    RETORT_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    RETORT_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    RETORT_ERROR(cudaErrorContextIsDestroyed, "context is destroyed"),
    RETORT_ERROR(cudaErrorHostMemoryAlreadyRegistered,
                 "part or all of the requested memory range is already mapped"),
    RETORT_ERROR(cudaErrorHostMemoryNotRegistered,
                 "pointer does not correspond to a registered memory region"),
    RETORT_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    RETORT_ERROR(cudaErrorNotSupported, "operation not supported"),
    RETORT_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    RETORT_ERROR(cudaErrorStreamCaptureInvalidated,
                 "operation failed due to a previous error during capture"),
    RETORT_ERROR(cudaErrorStreamCaptureMerge,
                 "operation would result in a merge of separate capture sequences"),
    RETORT_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    RETORT_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    RETORT_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    RETORT_ERROR(cudaErrorStreamCaptureImplicit,
                 "operation would make the legacy stream depend on a capturing one"),
    RETORT_ERROR(cudaErrorCapturedEvent,
                 "operation not permitted on an event last recorded in a capturing stream"),
    RETORT_ERROR(cudaErrorStreamCaptureWrongThread,
                 "attempt to terminate a thread-local capture sequence from another thread"),
    RETORT_ERROR(cudaErrorUnknown, "unknown error"),
#undef RETORT_ERROR
};

const ErrorText* FindError(cudaError_t error) {
  for (const ErrorText& known : kErrors) {
    if (known.error == error) return &known;
  }
  return nullptr;
}

}  // namespace

Runtime& TheRuntime() {
  static Runtime& runtime = *new Runtime;  // outlives every test's statics
  return runtime;
}

cudaError_t Failed(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t DeviceError() {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const Runtime& runtime = TheRuntime();
  if (runtime.device_count == kNoDriver || runtime.driver < CUDART_VERSION)
    return cudaErrorInsufficientDriver;
  if (runtime.device_count == 0) return cudaErrorNoDevice;
  return runtime.device_failure;
}

int CurrentDevice() {
  return current_device;
}

void SetStreamOrder(StreamOrder order, std::uint64_t seed) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().order = order;
  TheRuntime().random.seed(seed);
  if (order != StreamOrder::kEager) return;
  for (int device = 0; device < TheRuntime().device_count; ++device) RunAll(device);
}

StreamOrder GetStreamOrder() {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return TheRuntime().order;
}

void SetDevices(int count) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  for (int device = count; device < TheRuntime().device_count; ++device) {
    if (TheRuntime().memory.used(device) == 0) continue;
    std::fprintf(stderr, "cuda_on_cpu: device %d still holds allocations\n", device);
    std::abort();
  }
  TheRuntime().device_count = count;
  TheRuntime().device_failure = cudaSuccess;
}

void SetDriver(int release) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().driver = release;
}

void SetDeviceMemory(std::size_t bytes) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().memory.capacity = bytes;
}

void FailDevice(int cuda_error) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().device_failure = static_cast<cudaError_t>(cuda_error);
}

void SetHangLimit(int seconds) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().hang_limit = std::chrono::seconds(seconds);
}

HostWaits CountHostWaits() {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return TheRuntime().waits;
}

std::uint64_t CountLaunches() {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return TheRuntime().launches;
}

std::uint64_t CountGraphLaunches() {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return TheRuntime().graph_launches;
}

Objects CountObjects() {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const Runtime& runtime = TheRuntime();
  Objects objects;
  objects.device_allocations = runtime.memory.allocations();
  objects.device_bytes = runtime.memory.allocated_bytes();
  objects.host_allocations = runtime.memory.pinned_allocations();
  for (const auto& stream : runtime.streams) objects.streams += stream->is_null ? 0 : 1;
  objects.events = runtime.events;
  objects.graphs = runtime.graphs;
  objects.handles = runtime.handles;
  return objects;
}

std::string Describe(const Objects& objects) {
  return std::to_string(objects.device_allocations) + " device allocations (" +
         std::to_string(objects.device_bytes) + " bytes), " + std::to_string(objects.host_allocations) +
         " pinned ones, " + std::to_string(objects.streams) + " streams, " + std::to_string(objects.events) +
         " events, " + std::to_string(objects.graphs) + " graphs, " + std::to_string(objects.handles) +
         " library handles";
}

}  // namespace retort::cuda_on_cpu

using namespace retort::cuda_on_cpu;

extern "C" {

cudaError_t cudaGetLastError(void) {
  return std::exchange(last_error, cudaSuccess);
}
cudaError_t cudaPeekAtLastError(void) {
  return last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* known = FindError(error);
  return known == nullptr ? "unrecognized error code" : known->name;
}
const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* known = FindError(error);
  return known == nullptr ? "unrecognized error code" : known->text;
}

cudaError_t cudaDriverGetVersion(int* version) {
  if (version == nullptr) return Failed(cudaErrorInvalidValue);
  *version = TheRuntime().device_count == kNoDriver ? 0 : TheRuntime().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  if (version == nullptr) return Failed(cudaErrorInvalidValue);
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  if (count == nullptr) return Failed(cudaErrorInvalidValue);
  *count = 0;
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  *count = TheRuntime().device_count;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  if (device == nullptr) return Failed(cudaErrorInvalidValue);
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (device < 0 || device >= TheRuntime().device_count) return Failed(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

// An sm_90 device of the size of an H100, but for the memory.
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (properties == nullptr) return Failed(cudaErrorInvalidValue);
  if (device < 0 || device >= TheRuntime().device_count) return Failed(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "CUDA on CPU %d", device);
  std::memset(properties->uuid.bytes, device + 1, sizeof(properties->uuid.bytes));
  properties->totalGlobalMem = TheRuntime().memory.capacity;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  const int threads[3] = {1024, 1024, 64};
  const int grid[3] = {2147483647, 65535, 65535};
  std::memcpy(properties->maxThreadsDim, threads, sizeof(threads));
  std::memcpy(properties->maxGridSize, grid, sizeof(grid));
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 132;
  properties->concurrentKernels = 1;
  properties->ECCEnabled = 1;
  properties->pciBusID = device + 1;
  properties->asyncEngineCount = 3;
  properties->unifiedAddressing = 1;
  properties->memoryBusWidth = 5120;
  properties->l2CacheSize = 50 * 1024 * 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerMultiprocessor = 228 * 1024;
  properties->regsPerMultiprocessor = 65536;
  properties->sharedMemPerBlockOptin = 227 * 1024;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (value == nullptr) return Failed(cudaErrorInvalidValue);
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device); error != cudaSuccess)
    return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = properties.maxThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      break;
    case cudaDevAttrClockRate:
      *value = 1980000;
      break;
    case cudaDevAttrMemoryClockRate:
      *value = 2619000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = properties.memoryBusWidth;
      break;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    default:
      return Failed(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (text == nullptr || size < 13) return Failed(cudaErrorInvalidValue);
  if (device < 0 || device >= TheRuntime().device_count) return Failed(cudaErrorInvalidDevice);
  std::snprintf(text, static_cast<std::size_t>(size), "0000:%02X:00.0", device + 1);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  CountHostWait(false);
  RunAll(current_device);
  return cudaSuccess;
}

}  // extern "C"
