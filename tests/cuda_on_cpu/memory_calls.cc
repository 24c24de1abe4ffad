// Allocation and copies.
#include <cstdlib>
#include <cstring>

#include "tests/cuda_on_cpu/runtime.h"

using retort::cuda_on_cpu::DeviceError;
using retort::cuda_on_cpu::DeviceMemory;
using retort::cuda_on_cpu::Enqueue;
using retort::cuda_on_cpu::Failed;
using retort::cuda_on_cpu::RefuseDuringCapture;
using retort::cuda_on_cpu::RunAll;
using retort::cuda_on_cpu::StateOf;
using retort::cuda_on_cpu::TheRuntime;

namespace {

using Kind = DeviceMemory::Kind;

struct Copy {
  void* target;
  std::size_t target_pitch;
  const void* source;
  std::size_t source_pitch;
  std::size_t width;  // bytes of a row
  std::size_t height;
};

std::size_t Extent(std::size_t pitch, std::size_t width, std::size_t height) {
  return height == 0 || width == 0 ? 0 : pitch * (height - 1) + width;
}

// The direction as a device sees it: wrong kinds of pointers and ranges beyond their allocation are refused.
cudaError_t Resolve(const Copy& copy, cudaMemcpyKind* kind) {
  if (*kind < cudaMemcpyHostToHost || *kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
  const std::size_t target_bytes = Extent(copy.target_pitch, copy.width, copy.height);
  const std::size_t source_bytes = Extent(copy.source_pitch, copy.width, copy.height);
  if (target_bytes == 0) return cudaSuccess;
  if (copy.width > copy.target_pitch || copy.width > copy.source_pitch) return cudaErrorInvalidValue;
  const DeviceMemory& memory = TheRuntime().memory;
  const bool to_device = memory.InDeviceRange(copy.target);
  const bool from_device = memory.InDeviceRange(copy.source);
  if (copy.target == nullptr || copy.source == nullptr) return cudaErrorInvalidValue;
  if (to_device && !memory.IsDevice(copy.target, target_bytes)) return cudaErrorInvalidValue;
  if (from_device && !memory.IsDevice(copy.source, source_bytes)) return cudaErrorInvalidValue;
  const cudaMemcpyKind real = to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                                        : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
  if (*kind == cudaMemcpyDefault) *kind = real;
  return *kind == real ? cudaSuccess : cudaErrorInvalidValue;
}

void Run(const Copy& copy) {
  for (std::size_t row = 0; row < copy.height; ++row) {
    std::memmove(static_cast<char*>(copy.target) + row * copy.target_pitch,
                 static_cast<const char*>(copy.source) + row * copy.source_pitch, copy.width);
  }
}

cudaError_t WaitForStream(cudaStream_t stream) {
  const auto state = StateOf(stream);
  if (state == nullptr) return cudaErrorInvalidResourceHandle;
  retort::cuda_on_cpu::CountHostWait(true);
  const DeviceMemory::Access access(&TheRuntime().memory);
  retort::cuda_on_cpu::RunUntil({state, state->queued});
  return cudaSuccess;
}

// Copies between a device and pageable memory wait, as on a device: from the host until the source is read
// (here: at once, into a staging copy), to the host until all is there.
cudaError_t EnqueueCopy(const Copy& copy, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t error = Resolve(copy, &kind); error != cudaSuccess) return error;
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  const auto state = StateOf(stream);
  if (state == nullptr) return cudaErrorInvalidResourceHandle;
  const DeviceMemory& memory = TheRuntime().memory;
  const bool capturing = state->capture != nullptr;
  if (kind == cudaMemcpyHostToDevice && memory.Find(copy.source).kind == Kind::kUnknown) {
    if (capturing) {
      state->capture->valid = false;
      return cudaErrorStreamCaptureUnsupported;
    }
    if (const cudaError_t error = WaitForStream(stream); error != cudaSuccess) return error;
    std::vector<char> staged(copy.width * copy.height);
    Run({staged.data(), copy.width, copy.source, copy.source_pitch, copy.width, copy.height});
    return Enqueue(stream, [staged = std::move(staged), copy] {
      Run({copy.target, copy.target_pitch, staged.data(), copy.width, copy.width, copy.height});
    });
  }
  const bool waits = kind == cudaMemcpyDeviceToHost && memory.Find(copy.target).kind == Kind::kUnknown;
  if (waits && capturing) {
    state->capture->valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  const cudaError_t error = Enqueue(stream, [copy] { Run(copy); });
  return error == cudaSuccess && waits ? WaitForStream(stream) : error;
}

cudaError_t Fill(void* pointer, int value, std::size_t count, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  if (!TheRuntime().memory.IsDevice(pointer, count)) return cudaErrorInvalidValue;
  return Enqueue(stream, [pointer, value, count] { std::memset(pointer, value, count); });
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t size) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (pointer == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  *pointer = nullptr;
  if (size == 0) return cudaSuccess;
  *pointer = TheRuntime().memory.Allocate(size, retort::cuda_on_cpu::CurrentDevice());
  return *pointer == nullptr ? Failed(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  const DeviceMemory::Range range = TheRuntime().memory.Find(pointer);
  if (range.kind == Kind::kDevice) RunAll(range.device);  // a free waits for the device
  return TheRuntime().memory.Free(pointer) ? cudaSuccess : Failed(cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void** pointer, size_t size) {
  return cudaHostAlloc(pointer, size, cudaHostAllocDefault);
}

cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned int flags) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  constexpr unsigned kFlags = cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
  if (pointer == nullptr || (flags & ~kFlags) != 0) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  *pointer = size == 0 ? nullptr : TheRuntime().memory.AllocatePinned(size);
  return size != 0 && *pointer == nullptr ? Failed(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFreeHost(void* pointer) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (pointer == nullptr) return cudaSuccess;
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  for (int device = 0; device < TheRuntime().device_count; ++device) RunAll(device);
  return TheRuntime().memory.FreePinned(pointer) ? cudaSuccess : Failed(cudaErrorInvalidValue);
}

cudaError_t cudaHostRegister(void* pointer, size_t size, unsigned int flags) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (pointer == nullptr || size == 0 || flags != cudaHostRegisterDefault)
    return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return TheRuntime().memory.Register(pointer, size) ? cudaSuccess
                                                     : Failed(cudaErrorHostMemoryAlreadyRegistered);
}

cudaError_t cudaHostUnregister(void* pointer) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return TheRuntime().memory.Unregister(pointer) ? cudaSuccess : Failed(cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (attributes == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const DeviceMemory::Range range = TheRuntime().memory.Find(pointer);
  void* const address = const_cast<void*>(pointer);
  switch (range.kind) {
    case Kind::kDevice:
      *attributes = {cudaMemoryTypeDevice, range.device, address, nullptr};
      break;
    case Kind::kPinned:
      *attributes = {cudaMemoryTypeHost, range.device, address, address};
      break;
    case Kind::kUnknown:
      *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, address};
  }
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (free == nullptr || total == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const DeviceMemory& memory = TheRuntime().memory;
  *total = memory.capacity;
  *free = memory.capacity - std::min(memory.capacity, memory.used(retort::cuda_on_cpu::CurrentDevice()));
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t count, cudaMemcpyKind kind) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  const cudaError_t error = EnqueueCopy({target, count, source, count, count, 1}, kind, nullptr);
  return Failed(error == cudaSuccess ? WaitForStream(nullptr) : error);
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return Failed(EnqueueCopy({target, count, source, count, count, 1}, kind, stream));
}

cudaError_t cudaMemcpy2DAsync(void* target, size_t target_pitch, const void* source, size_t source_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return Failed(EnqueueCopy({target, target_pitch, source, source_pitch, width, height}, kind, stream));
}

cudaError_t cudaMemset(void* pointer, int value, size_t count) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (const cudaError_t error = RefuseDuringCapture(); error != cudaSuccess) return Failed(error);
  return Failed(Fill(pointer, value, count, nullptr));  // on a device it may return before the memory is set
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t count, cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return Failed(Fill(pointer, value, count, stream));
}

}  // extern "C"
