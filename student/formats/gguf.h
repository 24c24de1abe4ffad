// Reads GGUF version 2 and 3 model files (docs/formats/gguf.md): metadata, and tensors of the block types
// F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q8_0, Q4_K and Q6_K.
//
// The file is hostile input. Everything is checked before it is used: magic, version, counts, string lengths,
// value types, nesting, duplicate keys and tensor names, dimension products, alignment, and that tensors
// neither overlap nor leave the file. A refusal names the field, the value seen and the value wanted. Nothing
// is allocated in proportion to a number in the file that the file's own length does not bear out.
//
//   auto file = GgufFile::Open("model.gguf");
//   auto width = (*file)->GetUint("llama.embedding_length");
//   const GgufTensor* t = (*file)->FindTensor("token_embd.weight");
//
// A GgufFile is immutable and may be read from any thread. Tensor data and strings are views into it.
#ifndef STUDENT_FORMATS_GGUF_H_
#define STUDENT_FORMATS_GGUF_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::student {

// Storage types by their number in the file.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ6_K = 14,
  kBF16 = 30,
};

// How a type stores numbers: every `block_weights` weights of a row take `block_bytes` bytes.
struct GgufTypeTraits {
  GgufType type;
  std::string_view name;
  uint32_t block_weights;
  uint32_t block_bytes;
};

// Traits of a type number, or nullptr when this reader does not know it.
const GgufTypeTraits* FindGgufType(uint32_t type);

// Kinds of metadata values by their number in the file.
enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// One tensor: a row-major matrix stack. dims[0] is the length of a row (the fastest axis); unused dims are 1.
struct GgufTensor {
  std::string_view name;
  GgufType type;
  uint32_t n_dims;
  std::array<uint64_t, 4> dims;
  std::span<const uint8_t>
      data;  // exactly row_bytes() * rows() bytes, at the file's alignment within the file

  uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
  uint64_t row_bytes() const;
};

// Writes the `count` weights stored at `blocks` to `out` as fp32, in storage order. `count` must be a
// multiple of the type's block_weights and `blocks` must hold count / block_weights blocks (asserted by the
// caller's use of GgufTensor). Plain C++, every product rounded in the order of docs/formats/gguf.md: equal
// bit for bit to the reference implementation that the golden data comes from.
void DequantizeGguf(GgufType type, const uint8_t* blocks, size_t count, float* out);

// IEEE 754 half precision to single; exact, NaN payloads kept.
float HalfToFloat(uint16_t half);

class GgufFile {
 public:
  // Bounds that hold whatever the file says. The largest vocabulary in use has about 260,000 entries.
  static constexpr uint64_t kMaxMetadata = 65'536;
  static constexpr uint64_t kMaxTensors = 65'536;
  static constexpr uint64_t kMaxStringBytes = 16u << 20;
  static constexpr uint64_t kMaxArrayElements = 4u << 20;
  static constexpr uint64_t kMaxNameBytes = 64;
  static constexpr uint64_t kMaxKeyBytes = 65'535;

  // Maps the file at `path` and parses it. NotFound: no such file. InvalidArgument: not a well-formed GGUF
  // file, the message says which field, what was seen and what is wanted. Unimplemented: a tensor type or
  // GGUF version that this reader does not know. Unavailable: the file cannot be read. The file must not be
  // changed while it is mapped.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);

  // Parses bytes that the caller keeps alive for the life of the result (tests, fuzzing). Errors as Open.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(std::span<const uint8_t> bytes);

  ~GgufFile();
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  bool Has(std::string_view key) const;
  // Typed reads. NotFound: no such key. InvalidArgument: another type, or a value outside the result's range.
  // GetUint and GetInt accept every integer type; GetFloat both float types.
  absl::StatusOr<uint64_t> GetUint(std::string_view key) const;
  absl::StatusOr<double> GetFloat(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const;

  // All tensors in file order.
  std::span<const GgufTensor> tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const GgufTensor* FindTensor(std::string_view name) const;
  // NotFound without such a tensor; InvalidArgument unless its dims are `dims` (missing trailing ones count
  // as 1).
  absl::StatusOr<const GgufTensor*> GetTensor(std::string_view name, std::span<const uint64_t> dims) const;

  // The whole file.
  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  struct Value {
    GgufValueType type;  // of the value, or of the elements of an array
    bool is_array = false;
    uint64_t count = 1;  // elements
    size_t offset = 0;   // of the first element in the file
  };
  class Parser;

  GgufFile() = default;
  absl::StatusOr<const Value*> Find(std::string_view key, bool is_array) const;

  std::span<const uint8_t> bytes_;
  void* mapping_ = nullptr;  // owned when not null
  std::map<std::string_view, Value> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

}  // namespace retort::student

#endif  // STUDENT_FORMATS_GGUF_H_
