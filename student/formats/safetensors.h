// Reading and writing safetensors files (huggingface/safetensors, README "Format").
//
//   u64 little-endian n | n bytes of JSON header, padded with spaces | data
//
// The header maps each name to {"dtype","shape","data_offsets":[begin,end]}, offsets relative to the data,
// and
// "__metadata__" to strings. The reader treats a file as hostile: everything is bounded and checked before it
// is used, and what it accepts has no duplicate name, hole, overlap or trailing byte. The writer writes
// larger alignments first, then names in byte order, with the data at a multiple of 8, so equal contents give
// equal files.
//
// SafetensorsFile maps the file read-only and hands out views that live as long as it does. One thread may
// load; any number may read.
#ifndef STUDENT_FORMATS_SAFETENSORS_H_
#define STUDENT_FORMATS_SAFETENSORS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::student {

enum class SafetensorsType : uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kU8, kBool, kF8E4M3 };

// "F32" and so on.
std::string_view SafetensorsTypeName(SafetensorsType type);
// Bytes of one element.
size_t SafetensorsTypeWidth(SafetensorsType type);

struct SafetensorsTensor {
  SafetensorsType type = SafetensorsType::kF32;
  std::vector<int64_t> shape;     // row-major; empty for a scalar
  std::span<const uint8_t> data;  // little-endian
};

// Bounds of the reader.
inline constexpr uint64_t kSafetensorsHeaderBytesMax =
    16 << 20;  // the format allows 100 MB; a student needs 0.1
inline constexpr size_t kSafetensorsTensorsMax = 100'000;
inline constexpr size_t kSafetensorsDimensionsMax = 8;

class SafetensorsFile {
 public:
  // Maps and checks a file. NotFound when it is not there, Unavailable when it cannot be read,
  // InvalidArgument naming the tensor, the value seen and the value wanted for anything malformed.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  // The same for bytes in memory, which must outlive the result.
  static absl::StatusOr<SafetensorsFile> Parse(std::span<const uint8_t> bytes);

  // By name. Views into the file.
  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }

  // Copies a tensor of type F32, F16 or BF16 into `target`, widened to fp32 exactly.
  // NotFound when there is none of that name; InvalidArgument when its type or shape is another.
  absl::Status ReadFloats(std::string_view name, std::span<const int64_t> shape,
                          std::span<float> target) const;

 private:
  std::shared_ptr<const void>
      mapping_;  // shared with nobody but copies of this object; unmapped with the last
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

// Writes `tensors` and `metadata` to `path`: a temporary file in the same folder, synced, renamed, the folder
// synced. Unavailable when the disk refuses. The tensors must be well-formed (checked by assertion).
absl::Status WriteSafetensors(const std::string& path,
                              const std::map<std::string, SafetensorsTensor, std::less<>>& tensors,
                              const std::map<std::string, std::string, std::less<>>& metadata);

// bf16 is the upper half of an fp32; rounding is to nearest, ties to even, NaN stays NaN.
uint16_t Bf16FromFloat(float value);
float FloatFromBf16(uint16_t bits);
float FloatFromF16(uint16_t bits);

}  // namespace retort::student

#endif  // STUDENT_FORMATS_SAFETENSORS_H_
