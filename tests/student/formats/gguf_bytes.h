// Builds GGUF files in memory, right ones and wrong ones.
#ifndef TESTS_STUDENT_FORMATS_GGUF_BYTES_H_
#define TESTS_STUDENT_FORMATS_GGUF_BYTES_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace retort::student {

class GgufBytes {
 public:
  void String(std::string_view key, std::string_view value) {
    Key(key, 8);
    PutString(metadata_, value);
  }
  void Uint32(std::string_view key, uint32_t value) {
    Key(key, 4);
    Put(metadata_, value);
  }
  void Float32(std::string_view key, float value) {
    Key(key, 6);
    Put(metadata_, value);
  }
  void Bool(std::string_view key, uint8_t value) {
    Key(key, 7);
    Put(metadata_, value);
  }
  void Strings(std::string_view key, const std::vector<std::string>& values) {
    Key(key, 9);
    Put(metadata_, uint32_t{8});
    Put(metadata_, uint64_t{values.size()});
    for (const std::string& value : values) PutString(metadata_, value);
  }
  void Ints(std::string_view key, const std::vector<int32_t>& values) {
    Key(key, 9);
    Put(metadata_, uint32_t{5});
    Put(metadata_, uint64_t{values.size()});
    for (const int32_t value : values) Put(metadata_, value);
  }
  // A key with a value type and raw bytes after it.
  void Raw(std::string_view key, uint32_t type, const std::vector<uint8_t>& bytes) {
    Key(key, type);
    metadata_.insert(metadata_.end(), bytes.begin(), bytes.end());
  }
  void Tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
              const std::vector<uint8_t>& data) {
    while (data_.size() % 32 != 0) data_.push_back(0);
    TensorAt(name, dims, type, data_.size());
    data_.insert(data_.end(), data.begin(), data.end());
  }
  // Only the description, with any offset.
  void TensorAt(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    PutString(infos_, name);
    Put(infos_, static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) Put(infos_, dim);
    Put(infos_, type);
    Put(infos_, offset);
    ++tensors;
  }

  std::vector<uint8_t> Bytes() const {
    std::vector<uint8_t> out;
    Put(out, magic);
    Put(out, version);
    Put(out, tensors);
    Put(out, keys);
    out.insert(out.end(), metadata_.begin(), metadata_.end());
    out.insert(out.end(), infos_.begin(), infos_.end());
    while (out.size() % 32 != 0) out.push_back(0);
    out.insert(out.end(), data_.begin(), data_.end());
    return out;
  }

  // The header, to be spoilt.
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  uint64_t tensors = 0;
  uint64_t keys = 0;

 private:
  template <typename T>
  static void Put(std::vector<uint8_t>& out, T value) {
    uint8_t bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out.insert(out.end(), bytes, bytes + sizeof(T));
  }
  static void PutString(std::vector<uint8_t>& out, std::string_view s) {
    Put(out, uint64_t{s.size()});
    out.insert(out.end(), s.begin(), s.end());
  }
  void Key(std::string_view key, uint32_t type) {
    PutString(metadata_, key);
    Put(metadata_, type);
    ++keys;
  }

  std::vector<uint8_t> metadata_, infos_, data_;
};

}  // namespace retort::student

#endif  // TESTS_STUDENT_FORMATS_GGUF_BYTES_H_
