#include <algorithm>
#include <cassert>
#include <cstring>

#include "student/device/cuda/pinned_transfers.h"

namespace retort::student {

PinnedTransfers::~PinnedTransfers() {
  for (char* memory : {upload_, download_, read_}) {
    if (memory != nullptr) cudaFreeHost(memory);
  }
  for (cudaEvent_t event : {upload_done_[0], upload_done_[1], read_done_}) {
    if (event != nullptr) cudaEventDestroy(event);
  }
}

cudaError_t PinnedTransfers::Open(cudaStream_t stream) {
  stream_ = stream;
  cudaError_t error = cudaSuccess;
  const auto pinned = [&error](char** memory, std::int64_t bytes) {
    if (error == cudaSuccess) error = cudaMallocHost(memory, static_cast<std::size_t>(bytes));
  };
  pinned(&upload_, 2 * kPieceBytes);
  pinned(&download_, kPieceBytes);
  pinned(&read_, kPieceBytes);
  for (cudaEvent_t* event : {&upload_done_[0], &upload_done_[1], &read_done_}) {
    if (error == cudaSuccess) error = cudaEventCreateWithFlags(event, cudaEventDisableTiming);
  }
  return error;
}

cudaError_t PinnedTransfers::Upload(const void* host, std::int64_t bytes, void* to) {
  const char* from = static_cast<const char*>(host);
  char* target = static_cast<char*>(to);
  while (bytes > 0) {
    if (filled_ == kPieceBytes) {
      if (const cudaError_t error = cudaEventRecord(upload_done_[half_], stream_); error != cudaSuccess)
        return error;
      upload_used_[half_] = true;
      half_ = 1 - half_;
      filled_ = 0;
      if (upload_used_[half_]) {
        if (const cudaError_t error = cudaEventSynchronize(upload_done_[half_]); error != cudaSuccess)
          return error;
      }
    }
    const std::int64_t piece = std::min(bytes, kPieceBytes - filled_);
    char* const pinned = upload_ + half_ * kPieceBytes + filled_;
    std::memcpy(pinned, from, static_cast<std::size_t>(piece));
    if (const cudaError_t error =
            cudaMemcpyAsync(target, pinned, static_cast<std::size_t>(piece), cudaMemcpyHostToDevice, stream_);
        error != cudaSuccess) {
      return error;
    }
    filled_ += piece;
    from += piece;
    target += piece;
    bytes -= piece;
  }
  return cudaSuccess;
}

cudaError_t PinnedTransfers::Download(const void* from, std::int64_t bytes, void* host) {
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(host);
  while (bytes > 0) {
    if (downloaded_ == kPieceBytes) {
      if (const cudaError_t error = cudaStreamSynchronize(stream_); error != cudaSuccess) return error;
      Deliver();
    }
    const std::int64_t piece = std::min(bytes, kPieceBytes - downloaded_);
    char* const pinned = download_ + downloaded_;
    if (const cudaError_t error =
            cudaMemcpyAsync(pinned, source, static_cast<std::size_t>(piece), cudaMemcpyDeviceToHost, stream_);
        error != cudaSuccess) {
      return error;
    }
    pending_.push_back({pinned, target, piece});
    downloaded_ += piece;
    source += piece;
    target += piece;
    bytes -= piece;
  }
  return cudaSuccess;
}

void PinnedTransfers::Deliver() {
  for (const Pending& p : pending_) std::memcpy(p.host, p.pinned, static_cast<std::size_t>(p.bytes));
  pending_.clear();
  downloaded_ = 0;
}

cudaError_t PinnedTransfers::ReadNow(const void* from, std::int64_t bytes, void* host) {
  assert(bytes <= kPieceBytes);
  cudaError_t error =
      cudaMemcpyAsync(read_, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost, stream_);
  if (error == cudaSuccess) error = cudaEventRecord(read_done_, stream_);
  if (error == cudaSuccess) error = cudaEventSynchronize(read_done_);
  if (error == cudaSuccess) std::memcpy(host, read_, static_cast<std::size_t>(bytes));
  return error;
}

}  // namespace retort::student
