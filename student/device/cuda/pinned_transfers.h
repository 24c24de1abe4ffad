// Copies between ordinary host memory and the device that do not make the host wait: through page-locked
// memory. (A copy from ordinary memory waits for the stream first: CUDA Runtime API, "API synchronization
// behavior".)
//
// One stream, one caller at a time. Errors are CUDA's own.
#ifndef STUDENT_DEVICE_CUDA_PINNED_TRANSFERS_H_
#define STUDENT_DEVICE_CUDA_PINNED_TRANSFERS_H_

#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

namespace retort::student {

class PinnedTransfers {
 public:
  PinnedTransfers() = default;
  ~PinnedTransfers();
  PinnedTransfers(const PinnedTransfers&) = delete;
  PinnedTransfers& operator=(const PinnedTransfers&) = delete;

  cudaError_t Open(cudaStream_t stream);

  // `host` has been read on return. Waits only for room, that is for a copy of several megabytes ago.
  cudaError_t Upload(const void* host, std::int64_t bytes, void* to);
  // `host` is written by Deliver, or before when there is no room to keep it until then.
  cudaError_t Download(const void* from, std::int64_t bytes, void* host);
  // After the stream is done: hands over what was downloaded.
  void Deliver();
  // Waits for the copy and everything before it. bytes at most kPieceBytes.
  cudaError_t ReadNow(const void* from, std::int64_t bytes, void* host);

  static constexpr std::int64_t kPieceBytes = std::int64_t{4} << 20;

 private:
  struct Pending {
    const char* pinned;
    void* host;
    std::int64_t bytes;
  };
  cudaStream_t stream_ = nullptr;
  // Uploads: two halves, used in turn; an event for each says when its copies are done.
  char* upload_ = nullptr;
  cudaEvent_t upload_done_[2] = {};
  bool upload_used_[2] = {};
  int half_ = 0;
  std::int64_t filled_ = 0;
  // Downloads wait here for Deliver.
  char* download_ = nullptr;
  std::int64_t downloaded_ = 0;
  std::vector<Pending> pending_;
  cudaEvent_t read_done_ = nullptr;
  char* read_ = nullptr;
};

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_PINNED_TRANSFERS_H_
