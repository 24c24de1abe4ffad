// Device and pinned memory: where it is, how long it is, whether a device or the host may touch it.
//
// Device memory lies in one reserved range of addresses per process that the host cannot read or write except
// while an operation runs (it faults at once), as on a machine with a GPU. New memory is filled with NaN.
// Between allocations lie guards: AddressSanitizer reports a touch, and without it a changed guard ends the
// process at the free.
#ifndef TESTS_CUDA_ON_CPU_DEVICE_MEMORY_H_
#define TESTS_CUDA_ON_CPU_DEVICE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <map>

namespace retort::cuda_on_cpu {

// Not safe for two threads at once: the runtime's lock guards it.
class DeviceMemory {
 public:
  enum class Kind { kUnknown, kDevice, kPinned };
  struct Range {
    Kind kind = Kind::kUnknown;
    const char* begin = nullptr;
    std::size_t bytes = 0;
    int device = 0;
  };

  void* Allocate(std::size_t bytes, int device);  // null when the device's memory is full
  bool Free(void* pointer);                       // false: not the start of a device allocation

  void* AllocatePinned(std::size_t bytes);
  bool FreePinned(void* pointer);
  bool Register(void* pointer, std::size_t bytes);  // memory of the caller, pinned; false: already known
  bool Unregister(void* pointer);

  // The allocation that holds the byte, or one that ends just before it (where an empty slice may point).
  Range Find(const void* pointer) const;
  // True when [pointer, pointer + bytes) lies in one device allocation.
  bool IsDevice(const void* pointer, std::size_t bytes) const;
  bool InDeviceRange(const void* pointer) const;  // allocated or not

  // Lets this process touch device memory while it lives; they nest.
  class Access {
   public:
    explicit Access(DeviceMemory* memory);
    ~Access();
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

   private:
    DeviceMemory* memory_;
  };

  std::size_t capacity = std::size_t{4} << 30;  // of each device
  std::size_t used(int device) const;
  std::size_t allocations() const { return device_.size(); }
  std::size_t allocated_bytes() const;
  std::size_t pinned_allocations() const { return pinned_.size(); }

 private:
  struct Block {
    std::size_t bytes;  // asked for
    int device;
  };
  void Reserve();
  void Protect(bool closed);

  char* base_ = nullptr;
  std::size_t end_ = 0;  // bytes of the range that were ever used: those are readable while an operation runs
  int access_ = 0;
  std::map<std::size_t, Block> device_;       // by offset
  std::map<std::size_t, std::size_t> holes_;  // offset to size, guards included
  std::map<const char*, Block> pinned_;
  std::map<const char*, Block> registered_;
};

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_DEVICE_MEMORY_H_
