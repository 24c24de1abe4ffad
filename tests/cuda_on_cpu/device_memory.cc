#include "tests/cuda_on_cpu/device_memory.h"

#include <sys/mman.h>

#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define RETORT_POISON(pointer, bytes) __asan_poison_memory_region(pointer, bytes)
#define RETORT_UNPOISON(pointer, bytes) __asan_unpoison_memory_region(pointer, bytes)
#else
#define RETORT_POISON(pointer, bytes) (void)0
#define RETORT_UNPOISON(pointer, bytes) (void)0
#endif

namespace retort::cuda_on_cpu {
namespace {

constexpr std::size_t kReserved = std::size_t{64} << 30;  // addresses, not memory
constexpr std::size_t kAlignment = 256;                   // as cudaMalloc's
constexpr std::size_t kGuard = 256;                       // behind every allocation
constexpr std::size_t kPage = 4096;
constexpr unsigned char kGuardByte = 0xfd;
constexpr int kFresh = 0xff;  // a NaN as fp32 and as bf16, -1 as an integer

std::size_t RoundUp(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}
std::size_t Footprint(std::size_t bytes) {
  return RoundUp(bytes, kAlignment) + kGuard;
}

}  // namespace

void DeviceMemory::Reserve() {
  if (base_ != nullptr) return;
  void* range = mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) {
    std::perror("cuda_on_cpu: cannot reserve addresses for device memory");
    std::abort();
  }
  base_ = static_cast<char*>(range);
}

void DeviceMemory::Protect(bool closed) {
  if (end_ == 0) return;
  if (mprotect(base_, RoundUp(end_, kPage), closed ? PROT_NONE : PROT_READ | PROT_WRITE) != 0) {
    std::perror("cuda_on_cpu: mprotect of device memory");
    std::abort();
  }
}

DeviceMemory::Access::Access(DeviceMemory* memory) : memory_(memory) {
  if (memory_->access_++ == 0) memory_->Protect(false);
}

DeviceMemory::Access::~Access() {
  if (--memory_->access_ == 0) memory_->Protect(true);
}

void* DeviceMemory::Allocate(std::size_t bytes, int device) {
  if (bytes > capacity || used(device) + Footprint(bytes) > capacity) return nullptr;
  Reserve();
  const std::size_t need = Footprint(bytes);
  std::size_t offset = end_;
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    if (hole->second < need) continue;
    offset = hole->first;
    const std::size_t rest = hole->second - need;
    holes_.erase(hole);
    if (rest > 0) holes_[offset + need] = rest;
    break;
  }
  if (offset == end_) {
    if (end_ + need > kReserved) return nullptr;
    end_ += need;
    Protect(access_ == 0);
  }
  const Access access(this);
  char* begin = base_ + offset;
  RETORT_UNPOISON(begin, need);
  std::memset(begin, kFresh, bytes);
  std::memset(begin + bytes, kGuardByte, need - bytes);
  RETORT_POISON(begin + bytes, need - bytes);
  device_[offset] = {bytes, device};
  return begin;
}

bool DeviceMemory::Free(void* pointer) {
  if (!InDeviceRange(pointer)) return false;
  const std::size_t offset = static_cast<std::size_t>(static_cast<char*>(pointer) - base_);
  const auto found = device_.find(offset);
  if (found == device_.end()) return false;
  const std::size_t bytes = found->second.bytes;
  const std::size_t need = Footprint(bytes);
  const Access access(this);
  RETORT_UNPOISON(base_ + offset, need);
  for (std::size_t i = bytes; i < need; ++i) {
    if (static_cast<unsigned char>(base_[offset + i]) == kGuardByte) continue;
    std::fprintf(stderr, "cuda_on_cpu: byte %zu was written in a device allocation of %zu bytes\n", i, bytes);
    std::abort();
  }
  std::memset(base_ + offset, kFresh, bytes);
  RETORT_POISON(base_ + offset, need);
  device_.erase(found);
  auto hole = holes_.emplace(offset, need).first;
  if (const auto next = std::next(hole); next != holes_.end() && hole->first + hole->second == next->first) {
    hole->second += next->second;
    holes_.erase(next);
  }
  if (hole != holes_.begin()) {
    const auto previous = std::prev(hole);
    if (previous->first + previous->second == hole->first) {
      previous->second += hole->second;
      holes_.erase(hole);
    }
  }
  return true;
}

void* DeviceMemory::AllocatePinned(std::size_t bytes) {
  void* pointer = std::aligned_alloc(kPage, RoundUp(bytes, kPage));
  if (pointer == nullptr) return nullptr;
  std::memset(pointer, kFresh, bytes);
  RETORT_POISON(static_cast<char*>(pointer) + bytes, RoundUp(bytes, kPage) - bytes);
  pinned_[static_cast<const char*>(pointer)] = {bytes, 0};
  return pointer;
}

bool DeviceMemory::FreePinned(void* pointer) {
  const auto found = pinned_.find(static_cast<const char*>(pointer));
  if (found == pinned_.end()) return false;
  RETORT_UNPOISON(static_cast<char*>(pointer), RoundUp(found->second.bytes, kPage));
  pinned_.erase(found);
  std::free(pointer);
  return true;
}

bool DeviceMemory::Register(void* pointer, std::size_t bytes) {
  if (Find(pointer).kind != Kind::kUnknown) return false;
  registered_[static_cast<const char*>(pointer)] = {bytes, 0};
  return true;
}

bool DeviceMemory::Unregister(void* pointer) {
  return registered_.erase(static_cast<const char*>(pointer)) == 1;
}

bool DeviceMemory::InDeviceRange(const void* pointer) const {
  const auto* byte = static_cast<const char*>(pointer);
  return base_ != nullptr && byte >= base_ && byte < base_ + kReserved;
}

DeviceMemory::Range DeviceMemory::Find(const void* pointer) const {
  const auto* byte = static_cast<const char*>(pointer);
  if (InDeviceRange(pointer)) {
    auto at = device_.upper_bound(static_cast<std::size_t>(byte - base_));
    if (at == device_.begin()) return {};
    --at;
    if (byte > base_ + at->first + at->second.bytes) return {};
    return {Kind::kDevice, base_ + at->first, at->second.bytes, at->second.device};
  }
  for (const auto* known : {&pinned_, &registered_}) {
    auto at = known->upper_bound(byte);
    if (at == known->begin()) continue;
    --at;
    if (byte <= at->first + at->second.bytes) return {Kind::kPinned, at->first, at->second.bytes, 0};
  }
  return {};
}

bool DeviceMemory::IsDevice(const void* pointer, std::size_t bytes) const {
  const Range range = Find(pointer);
  return range.kind == Kind::kDevice &&
         static_cast<const char*>(pointer) + bytes <= range.begin + range.bytes;
}

std::size_t DeviceMemory::used(int device) const {
  std::size_t sum = 0;
  for (const auto& [offset, block] : device_) {
    if (block.device == device) sum += Footprint(block.bytes);
  }
  return sum;
}

std::size_t DeviceMemory::allocated_bytes() const {
  std::size_t sum = 0;
  for (const auto& [offset, block] : device_) sum += block.bytes;
  return sum;
}

}  // namespace retort::cuda_on_cpu
