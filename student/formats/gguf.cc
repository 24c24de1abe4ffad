#include "student/formats/gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

namespace retort::student {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read in place");

constexpr GgufTypeTraits kTypes[] = {
    {GgufType::kF32, "F32", 1, 4},       {GgufType::kF16, "F16", 1, 2},
    {GgufType::kQ4_0, "Q4_0", 32, 18},   {GgufType::kQ4_1, "Q4_1", 32, 20},
    {GgufType::kQ5_0, "Q5_0", 32, 22},   {GgufType::kQ8_0, "Q8_0", 32, 34},
    {GgufType::kQ4_K, "Q4_K", 256, 144}, {GgufType::kQ6_K, "Q6_K", 256, 210},
    {GgufType::kBF16, "BF16", 1, 2},
};

// Names of types that exist elsewhere, so that a refusal can say what the file holds.
std::string UnknownTypeName(uint32_t type) {
  static constexpr std::pair<uint32_t, std::string_view> kNames[] = {
      {7, "Q5_1"},     {9, "Q8_1"},    {10, "Q2_K"},    {11, "Q3_K"},  {13, "Q5_K"},   {15, "Q8_K"},
      {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},
      {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},   {26, "I32"},    {27, "I64"},
      {28, "F64"},     {29, "IQ1_M"},  {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"},
  };
  for (const auto& [number, name] : kNames) {
    if (number == type) return std::to_string(type) + " (" + std::string(name) + ")";
  }
  return std::to_string(type);
}

// Bytes of a scalar; 0 for strings, arrays and unknown kinds.
size_t ScalarBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      break;
  }
  return 0;
}

template <typename T>
T ReadAt(std::span<const uint8_t> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

absl::Status Refuse(const std::string& field, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("GGUF " + field + " is " + seen + "; wanted " + wanted);
}

// Names come from the file: show printable ASCII only, and not much of it.
std::string Printable(std::string_view name) {
  std::string out = "'";
  for (const char c : name.substr(0, 80)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + "'";
}

}  // namespace

const GgufTypeTraits* FindGgufType(uint32_t type) {
  for (const GgufTypeTraits& traits : kTypes) {
    if (static_cast<uint32_t>(traits.type) == type) return &traits;
  }
  return nullptr;
}

uint64_t GgufTensor::row_bytes() const {
  const GgufTypeTraits* traits = FindGgufType(static_cast<uint32_t>(type));
  return dims[0] / traits->block_weights * traits->block_bytes;
}

// Reads the file once, front to back. Every read checks what is left; an absl::Status ends the parse.
class GgufFile::Parser {
 public:
  explicit Parser(GgufFile& file) : file_(file), bytes_(file.bytes_) {}

  absl::Status Parse() {
    if (auto s = ReadHeader(); !s.ok()) return s;
    for (uint64_t i = 0; i < metadata_count_; ++i) {
      if (auto s = ReadKeyValue(i); !s.ok()) return s;
    }
    if (auto s = ReadAlignment(); !s.ok()) return s;
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      if (auto s = ReadTensorInfo(i); !s.ok()) return s;
    }
    return PlaceTensors();
  }

 private:
  size_t left() const { return bytes_.size() - at_; }

  template <typename T>
  absl::Status Read(const std::string& field, T& value) {
    if (left() < sizeof(T)) {
      return Refuse(field, "cut off at byte " + std::to_string(at_), std::to_string(sizeof(T)) + " bytes");
    }
    value = ReadAt<T>(bytes_, at_);
    at_ += sizeof(T);
    return absl::OkStatus();
  }

  absl::Status ReadString(const std::string& field, uint64_t max_bytes, std::string_view& value) {
    uint64_t length = 0;
    if (auto s = Read(field + " length", length); !s.ok()) return s;
    if (length > max_bytes) {
      return Refuse(field + " length", std::to_string(length), "at most " + std::to_string(max_bytes));
    }
    if (length > left()) {
      return Refuse(field + " length", std::to_string(length),
                    "at most the " + std::to_string(left()) + " bytes left in the file");
    }
    value = {reinterpret_cast<const char*>(bytes_.data() + at_), static_cast<size_t>(length)};
    at_ += length;
    return absl::OkStatus();
  }

  absl::Status ReadHeader() {
    uint32_t magic = 0, version = 0;
    if (auto s = Read("magic", magic); !s.ok()) return s;
    if (magic != 0x46554747) return Refuse("magic", std::to_string(magic), "1179993927 ('GGUF')");
    if (auto s = Read("version", version); !s.ok()) return s;
    if (version != 2 && version != 3) {
      return absl::UnimplementedError("GGUF version is " + std::to_string(version) + "; wanted 2 or 3");
    }
    if (auto s = Read("tensor count", tensor_count_); !s.ok()) return s;
    if (tensor_count_ > kMaxTensors) {
      return Refuse("tensor count", std::to_string(tensor_count_), "at most " + std::to_string(kMaxTensors));
    }
    if (auto s = Read("metadata count", metadata_count_); !s.ok()) return s;
    if (metadata_count_ > kMaxMetadata) {
      return Refuse("metadata count", std::to_string(metadata_count_),
                    "at most " + std::to_string(kMaxMetadata));
    }
    return absl::OkStatus();
  }

  absl::Status ReadKeyValue(uint64_t index) {
    std::string_view key;
    if (auto s = ReadString("metadata key " + std::to_string(index), kMaxKeyBytes, key); !s.ok()) return s;
    const std::string field = "metadata " + Printable(key);
    if (key.empty()) return Refuse("metadata key " + std::to_string(index), "empty", "a name");
    Value value;
    if (auto s = ReadValueType(field, value.type); !s.ok()) return s;
    if (value.type == GgufValueType::kArray) {
      value.is_array = true;
      if (auto s = ReadValueType(field + " element", value.type); !s.ok()) return s;
      if (value.type == GgufValueType::kArray)
        return Refuse(field, "an array of arrays", "an array of plain values");
      if (auto s = Read(field + " element count", value.count); !s.ok()) return s;
      if (value.count > kMaxArrayElements) {
        return Refuse(field + " element count", std::to_string(value.count),
                      "at most " + std::to_string(kMaxArrayElements));
      }
    }
    value.offset = at_;
    if (auto s = SkipElements(field, value); !s.ok()) return s;
    if (!file_.metadata_.emplace(key, value).second) return Refuse(field, "there twice", "once");
    return absl::OkStatus();
  }

  absl::Status ReadValueType(const std::string& field, GgufValueType& type) {
    uint32_t number = 0;
    if (auto s = Read(field + " type", number); !s.ok()) return s;
    if (number > static_cast<uint32_t>(GgufValueType::kFloat64)) {
      return Refuse(field + " type", std::to_string(number), "0 to 12");
    }
    type = static_cast<GgufValueType>(number);
    return absl::OkStatus();
  }

  absl::Status SkipElements(const std::string& field, const Value& value) {
    if (value.type == GgufValueType::kString) {
      std::string_view ignored;
      for (uint64_t i = 0; i < value.count; ++i) {
        if (auto s = ReadString(field, kMaxStringBytes, ignored); !s.ok()) return s;
      }
      return absl::OkStatus();
    }
    const uint64_t size = value.count * ScalarBytes(value.type);  // at most 2^22 * 8
    if (size > left()) {
      return Refuse(field, std::to_string(size) + " bytes long",
                    "at most the " + std::to_string(left()) + " bytes left in the file");
    }
    if (value.type == GgufValueType::kBool) {
      for (uint64_t i = 0; i < value.count; ++i) {
        if (bytes_[at_ + i] > 1)
          return Refuse(field, "the bool " + std::to_string(bytes_[at_ + i]), "0 or 1");
      }
    }
    at_ += size;
    return absl::OkStatus();
  }

  absl::Status ReadAlignment() {
    if (!file_.Has("general.alignment")) return absl::OkStatus();
    auto alignment = file_.GetUint("general.alignment");
    if (!alignment.ok()) return alignment.status();
    if (!std::has_single_bit(*alignment) || *alignment < 8 || *alignment > 65'536) {
      return Refuse("metadata 'general.alignment'", std::to_string(*alignment),
                    "a power of two from 8 to 65536");
    }
    alignment_ = *alignment;
    return absl::OkStatus();
  }

  absl::Status ReadTensorInfo(uint64_t index) {
    GgufTensor tensor{};
    const std::string nth = "tensor " + std::to_string(index);
    if (auto s = ReadString(nth + " name", kMaxNameBytes, tensor.name); !s.ok()) return s;
    if (tensor.name.empty()) return Refuse(nth + " name", "empty", "a name");
    const std::string field = "tensor " + Printable(tensor.name);
    if (auto s = Read(field + " dimension count", tensor.n_dims); !s.ok()) return s;
    if (tensor.n_dims < 1 || tensor.n_dims > 4) {
      return Refuse(field + " dimension count", std::to_string(tensor.n_dims), "1 to 4");
    }
    tensor.dims = {1, 1, 1, 1};
    for (uint32_t d = 0; d < tensor.n_dims; ++d) {
      if (auto s = Read(field + " dimension " + std::to_string(d), tensor.dims[d]); !s.ok()) return s;
    }
    uint32_t type = 0;
    if (auto s = Read(field + " type", type); !s.ok()) return s;
    const GgufTypeTraits* traits = FindGgufType(type);
    if (traits == nullptr) {
      return absl::UnimplementedError("GGUF " + field + " type is " + UnknownTypeName(type) +
                                      "; wanted F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q8_0, Q4_K or Q6_K");
    }
    tensor.type = traits->type;
    uint64_t offset = 0;
    if (auto s = Read(field + " offset", offset); !s.ok()) return s;
    if (offset % alignment_ != 0) {
      return Refuse(field + " offset", std::to_string(offset), "a multiple of " + std::to_string(alignment_));
    }
    if (auto s = CheckSize(field, *traits, tensor); !s.ok()) return s;
    if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second) {
      return Refuse(field, "there twice", "once");
    }
    file_.tensors_.push_back(tensor);
    offsets_.push_back(offset);
    return absl::OkStatus();
  }

  // The product of the dimensions cannot exceed the weights that the file's bytes could hold, so it cannot
  // overflow.
  absl::Status CheckSize(const std::string& field, const GgufTypeTraits& traits, const GgufTensor& tensor) {
    const uint64_t weights_max = bytes_.size() / traits.block_bytes * traits.block_weights;
    uint64_t weights = 1;
    for (uint32_t d = 0; d < tensor.n_dims; ++d) {
      const uint64_t dim = tensor.dims[d];
      if (dim == 0 || dim > weights_max / weights) {
        return Refuse(field + " dimension " + std::to_string(d), std::to_string(dim),
                      "at least 1, and a product of at most " + std::to_string(weights_max) +
                          ", which is what the file has room for");
      }
      weights *= dim;
    }
    if (tensor.dims[0] % traits.block_weights != 0) {
      return Refuse(
          field + " dimension 0", std::to_string(tensor.dims[0]),
          "a multiple of " + std::to_string(traits.block_weights) + " for " + std::string(traits.name));
    }
    return absl::OkStatus();
  }

  absl::Status PlaceTensors() {
    if (tensor_count_ == 0) return absl::OkStatus();
    const uint64_t start = (at_ + alignment_ - 1) / alignment_ * alignment_;
    if (start > bytes_.size()) return Refuse("tensor data", "missing", "data after the padding");
    const std::span<const uint8_t> blob = bytes_.subspan(start);
    for (size_t i = 0; i < offsets_.size(); ++i) {
      GgufTensor& tensor = file_.tensors_[i];
      const uint64_t size = tensor.row_bytes() * tensor.rows();
      if (offsets_[i] > blob.size() || size > blob.size() - offsets_[i]) {
        return Refuse("tensor " + Printable(tensor.name) + " extent",
                      std::to_string(size) + " bytes at offset " + std::to_string(offsets_[i]),
                      "an end within the " + std::to_string(blob.size()) + " bytes of tensor data");
      }
      tensor.data = blob.subspan(offsets_[i], size);
    }
    return CheckOverlap();
  }

  absl::Status CheckOverlap() {
    std::vector<size_t> order(offsets_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [this](size_t a, size_t b) { return offsets_[a] < offsets_[b]; });
    for (size_t i = 1; i < order.size(); ++i) {
      const GgufTensor& before = file_.tensors_[order[i - 1]];
      const GgufTensor& after = file_.tensors_[order[i]];
      if (offsets_[order[i]] < offsets_[order[i - 1]] + before.data.size()) {
        return Refuse("tensor " + Printable(after.name) + " offset", std::to_string(offsets_[order[i]]),
                      "at least " + std::to_string(offsets_[order[i - 1]] + before.data.size()) +
                          ", the end of tensor " + Printable(before.name));
      }
    }
    return absl::OkStatus();
  }

  GgufFile& file_;
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t metadata_count_ = 0;
  uint64_t alignment_ = 32;
  std::vector<uint64_t> offsets_;  // by tensor, within the data
};

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const std::string message = path + ": " + std::strerror(errno);
    return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  std::unique_ptr<GgufFile> file(new GgufFile());
  struct stat info;
  absl::Status status = absl::OkStatus();
  if (::fstat(fd, &info) != 0) {
    status = absl::UnavailableError(path + ": " + std::strerror(errno));
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(path + " is not a regular file; wanted a GGUF file");
  } else if (info.st_size == 0) {
    status = absl::InvalidArgumentError(path + ": GGUF magic is cut off at byte 0; wanted 4 bytes");
  } else {
    const size_t size = static_cast<size_t>(info.st_size);
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
      status = absl::UnavailableError(path + ": " + std::strerror(errno));
    } else {
      file->mapping_ = mapping;
      file->bytes_ = {static_cast<const uint8_t*>(mapping), size};
    }
  }
  ::close(fd);
  if (!status.ok()) return status;
  if (auto s = Parser(*file).Parse(); !s.ok()) {
    return absl::Status(s.code(), path + ": " + std::string(s.message()));
  }
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(std::span<const uint8_t> bytes) {
  std::unique_ptr<GgufFile> file(new GgufFile());
  file->bytes_ = bytes;
  if (auto s = Parser(*file).Parse(); !s.ok()) return s;
  return file;
}

GgufFile::~GgufFile() {
  if (mapping_ != nullptr) ::munmap(mapping_, bytes_.size());
}

bool GgufFile::Has(std::string_view key) const {
  return metadata_.contains(key);
}

absl::StatusOr<const GgufFile::Value*> GgufFile::Find(std::string_view key, bool is_array) const {
  const auto it = metadata_.find(key);
  if (it == metadata_.end())
    return absl::NotFoundError("GGUF metadata '" + std::string(key) + "' is missing");
  if (it->second.is_array != is_array) {
    return Refuse("metadata '" + std::string(key) + "'", is_array ? "a single value" : "an array",
                  is_array ? "an array" : "a single value");
  }
  return &it->second;
}

namespace {

// Integers of every width as int64; values above its range are refused by `fits`.
struct Integer {
  bool is_integer = false;
  bool fits = true;
  int64_t value = 0;
};

Integer ReadInteger(std::span<const uint8_t> bytes, GgufValueType type, size_t offset) {
  switch (type) {
    case GgufValueType::kUint8:
      return {true, true, ReadAt<uint8_t>(bytes, offset)};
    case GgufValueType::kInt8:
      return {true, true, ReadAt<int8_t>(bytes, offset)};
    case GgufValueType::kUint16:
      return {true, true, ReadAt<uint16_t>(bytes, offset)};
    case GgufValueType::kInt16:
      return {true, true, ReadAt<int16_t>(bytes, offset)};
    case GgufValueType::kUint32:
      return {true, true, ReadAt<uint32_t>(bytes, offset)};
    case GgufValueType::kInt32:
      return {true, true, ReadAt<int32_t>(bytes, offset)};
    case GgufValueType::kInt64:
      return {true, true, ReadAt<int64_t>(bytes, offset)};
    case GgufValueType::kUint64: {
      const uint64_t value = ReadAt<uint64_t>(bytes, offset);
      return {true, value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()),
              static_cast<int64_t>(value)};
    }
    default:
      return {};
  }
}

absl::Status WrongKind(std::string_view key, GgufValueType seen, std::string_view wanted) {
  return Refuse("metadata '" + std::string(key) + "'",
                "of type " + std::to_string(static_cast<uint32_t>(seen)), std::string(wanted));
}

}  // namespace

absl::StatusOr<uint64_t> GgufFile::GetUint(std::string_view key) const {
  auto found = Find(key, false);
  if (!found.ok()) return found.status();
  const Integer integer = ReadInteger(bytes_, (*found)->type, (*found)->offset);
  if (!integer.is_integer) return WrongKind(key, (*found)->type, "an integer");
  if (!integer.fits || integer.value < 0) {
    return Refuse("metadata '" + std::string(key) + "'",
                  integer.fits ? std::to_string(integer.value) : "above 2^63 - 1", "0 to 2^63 - 1");
  }
  return static_cast<uint64_t>(integer.value);
}

absl::StatusOr<double> GgufFile::GetFloat(std::string_view key) const {
  auto found = Find(key, false);
  if (!found.ok()) return found.status();
  if ((*found)->type == GgufValueType::kFloat32) return ReadAt<float>(bytes_, (*found)->offset);
  if ((*found)->type == GgufValueType::kFloat64) return ReadAt<double>(bytes_, (*found)->offset);
  return WrongKind(key, (*found)->type, "a float");
}

absl::StatusOr<bool> GgufFile::GetBool(std::string_view key) const {
  auto found = Find(key, false);
  if (!found.ok()) return found.status();
  if ((*found)->type != GgufValueType::kBool) return WrongKind(key, (*found)->type, "a bool");
  return bytes_[(*found)->offset] == 1;
}

absl::StatusOr<std::string_view> GgufFile::GetString(std::string_view key) const {
  auto found = Find(key, false);
  if (!found.ok()) return found.status();
  if ((*found)->type != GgufValueType::kString) return WrongKind(key, (*found)->type, "a string");
  const uint64_t length = ReadAt<uint64_t>(bytes_, (*found)->offset);
  return std::string_view(reinterpret_cast<const char*>(bytes_.data() + (*found)->offset + 8), length);
}

absl::StatusOr<std::vector<std::string_view>> GgufFile::GetStrings(std::string_view key) const {
  auto found = Find(key, true);
  if (!found.ok()) return found.status();
  if ((*found)->type != GgufValueType::kString) return WrongKind(key, (*found)->type, "an array of strings");
  std::vector<std::string_view> strings((*found)->count);
  size_t at = (*found)->offset;
  for (std::string_view& s : strings) {  // lengths were checked by the parser
    const uint64_t length = ReadAt<uint64_t>(bytes_, at);
    s = {reinterpret_cast<const char*>(bytes_.data() + at + 8), length};
    at += 8 + length;
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> GgufFile::GetInts(std::string_view key) const {
  auto found = Find(key, true);
  if (!found.ok()) return found.status();
  std::vector<int64_t> values((*found)->count);
  for (size_t i = 0; i < values.size(); ++i) {
    const Integer integer =
        ReadInteger(bytes_, (*found)->type, (*found)->offset + i * ScalarBytes((*found)->type));
    if (!integer.is_integer) return WrongKind(key, (*found)->type, "an array of integers");
    if (!integer.fits) {
      return Refuse("metadata '" + std::string(key) + "' element " + std::to_string(i), "above 2^63 - 1",
                    "at most 2^63 - 1");
    }
    values[i] = integer.value;
  }
  return values;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

absl::StatusOr<const GgufTensor*> GgufFile::GetTensor(std::string_view name,
                                                      std::span<const uint64_t> dims) const {
  const GgufTensor* tensor = FindTensor(name);
  if (tensor == nullptr) return absl::NotFoundError("GGUF tensor '" + std::string(name) + "' is missing");
  std::string seen, wanted;
  bool equal = dims.size() <= 4;
  for (size_t d = 0; d < 4; ++d) {
    const uint64_t want = d < dims.size() ? dims[d] : 1;
    equal = equal && tensor->dims[d] == want;
    seen += (d == 0 ? "" : " x ") + std::to_string(tensor->dims[d]);
    wanted += (d == 0 ? "" : " x ") + std::to_string(want);
  }
  if (!equal) return Refuse("tensor '" + std::string(name) + "' shape", seen, wanted);
  return tensor;
}

}  // namespace retort::student
