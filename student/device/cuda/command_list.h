// Work for a stream, kept as data instead of being given to it: kernel launches, copies on the device, fills
// and library calls, with every argument by value. Two lists with the same bytes do the same to the same
// memory, whatever the memory holds; that is all that segments.h needs to know to run a graph in a list's
// place.
//
// A launcher keeps its work by being given a Stream whose `kept` is a list (launch.cuh does the rest). Kept
// work is in the order of the stream; nothing is given to the device before Run. One caller at a time.
#ifndef STUDENT_DEVICE_CUDA_COMMAND_LIST_H_
#define STUDENT_DEVICE_CUDA_COMMAND_LIST_H_

#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "student/device/device_types.h"

namespace retort::student {

// What a command answered: one of the two is not 0 when it was refused.
struct CommandResult {
  cudaError_t error = cudaSuccess;
  int cublas = 0;                   // a cublasStatus_t
  const char* operation = nullptr;  // the operator that the refused command belongs to

  bool ok() const { return error == cudaSuccess && cublas == 0; }
};

class CommandList {
 public:
  // Does one command: `arguments` are the bytes that were added, `context` is Run's.
  using Execute = CommandResult (*)(const std::byte* arguments, cudaStream_t stream, void* context);

  // The operator that the next commands belong to; a literal.
  void BeginOperation(const char* name) { operation_ = name; }
  const char* operation() const { return operation_; }

  // T: arguments without padding, trivially copyable.
  template <typename T>
  void Add(Execute execute, const T& arguments) {
    static_assert(std::has_unique_object_representations_v<T>, "padding would make equal lists differ");
    std::memcpy(Append(execute, sizeof(T)), &arguments, sizeof(T));
  }
  void AddCopy(const void* from, std::int64_t bytes, void* to) {  // on the device
    Add(
        [](const std::byte* arguments, cudaStream_t stream, void*) -> CommandResult {
          const auto* const copy = reinterpret_cast<const Copy*>(arguments);
          return {cudaMemcpyAsync(copy->to, copy->from, copy->bytes, cudaMemcpyDeviceToDevice, stream)};
        },
        Copy{from, to, static_cast<std::uint64_t>(bytes)});
  }
  void AddZero(void* memory, std::int64_t bytes) {
    Add(
        [](const std::byte* arguments, cudaStream_t stream, void*) -> CommandResult {
          const auto* const zero = reinterpret_cast<const Zero*>(arguments);
          return {cudaMemsetAsync(zero->memory, 0, zero->bytes, stream)};
        },
        Zero{memory, static_cast<std::uint64_t>(bytes)});
  }
  // A kernel with its arguments as it takes them. What lies between members of a structure counts as zero.
  template <typename... P>
  void AddKernel(Execute execute, const char* name, void (*kernel)(P...), dim3 grid, dim3 block,
                 std::size_t shared_bytes, const std::type_identity_t<P>&... arguments) {
    constexpr std::array offsets = Offsets<P...>();
    std::byte* const to = Append(execute, offsets.back());
    const KernelStart start = {reinterpret_cast<const void*>(kernel),
                               name,
                               {grid.x, grid.y, grid.z},
                               {block.x, block.y, block.z},
                               shared_bytes};
    std::memcpy(to, &start, sizeof(start));
    [[maybe_unused]] std::size_t i = 0;
    (Put(arguments, to + offsets[i++]), ...);
  }
  // What an Execute of AddKernel reads: how the kernel starts, and its arguments by their index.
  struct KernelStart {
    const void* kernel;
    const char* name;
    unsigned grid[3], block[3];
    std::uint64_t shared_bytes;
  };
  static_assert(std::has_unique_object_representations_v<KernelStart>);
  static KernelStart StartOf(const std::byte* arguments) {
    KernelStart start;
    std::memcpy(&start, arguments, sizeof(start));
    return start;
  }
  template <std::size_t kIndex, typename... P>
  static const auto& ArgumentOf(const std::byte* arguments) {
    using T = std::tuple_element_t<kIndex, std::tuple<P...>>;
    return *reinterpret_cast<const T*>(arguments + Offsets<P...>()[kIndex]);
  }

  bool empty() const { return bytes_.empty(); }
  std::size_t commands() const { return commands_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  void Clear() {
    bytes_.clear();
    commands_ = 0;
  }

  // Gives all commands to the stream; the first refusal ends it.
  CommandResult Run(cudaStream_t stream, void* context) const {
    for (std::size_t at = 0; at < bytes_.size();) {
      Header header;
      std::memcpy(&header, bytes_.data() + at, sizeof(header));
      CommandResult result = header.execute(bytes_.data() + at + sizeof(header), stream, context);
      if (!result.ok()) {
        result.operation = header.operation;
        return result;
      }
      at += sizeof(header) + header.bytes;
    }
    return {};
  }

 private:
  static constexpr std::size_t kAlignment = 16;  // of arguments; operator new gives no less
  struct Header {
    Execute execute;
    const char* operation;
    std::uint64_t bytes, unused;
  };
  static_assert(sizeof(Header) % kAlignment == 0 && std::has_unique_object_representations_v<Header>);

  struct Copy {
    const void* from;
    void* to;
    std::uint64_t bytes;
  };
  struct Zero {
    void* memory;
    std::uint64_t bytes;
  };

  // Where the arguments of a kernel lie behind its KernelStart; the last is the end.
  template <typename... P>
  static constexpr std::array<std::size_t, sizeof...(P) + 1> Offsets() {
    constexpr std::array<std::size_t, sizeof...(P)> sizes = {sizeof(P)...}, alignments = {alignof(P)...};
    std::array<std::size_t, sizeof...(P) + 1> offsets = {};
    std::size_t at = sizeof(KernelStart);
    for (std::size_t i = 0; i < sizeof...(P); ++i) {
      at = (at + alignments[i] - 1) / alignments[i] * alignments[i];
      offsets[i] = at;
      at += sizes[i];
    }
    offsets[sizeof...(P)] = at;
    return offsets;
  }

  template <typename T>
  static void Put(T value, std::byte* to) {
    static_assert(std::is_trivially_copyable_v<T>);
    if constexpr (std::is_class_v<T>) __builtin_clear_padding(&value);
    std::memcpy(to, &value, sizeof(value));
  }
  std::byte* Append(Execute execute, std::size_t size) {
    const std::size_t padded = (size + kAlignment - 1) / kAlignment * kAlignment, at = bytes_.size();
    bytes_.resize(at + sizeof(Header) + padded);  // new bytes are zero
    const Header header = {execute, operation_, padded, 0};
    std::memcpy(bytes_.data() + at, &header, sizeof(header));
    ++commands_;
    return bytes_.data() + at + sizeof(Header);
  }

  std::vector<std::byte> bytes_;
  std::size_t commands_ = 0;
  const char* operation_ = "";
};

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_COMMAND_LIST_H_
