#include "student/formats/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "student/formats/atomic_file.h"
#include "student/formats/message.h"
#include "student/formats/strict_json.h"

namespace retort::student {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are copied as they are in memory");

struct TypeRow {
  SafetensorsType type;
  std::string_view name;
  size_t width;
};
constexpr std::array<TypeRow, 9> kTypes = {{
    {SafetensorsType::kF64, "F64", 8},
    {SafetensorsType::kF32, "F32", 4},
    {SafetensorsType::kF16, "F16", 2},
    {SafetensorsType::kBF16, "BF16", 2},
    {SafetensorsType::kI64, "I64", 8},
    {SafetensorsType::kI32, "I32", 4},
    {SafetensorsType::kU8, "U8", 1},
    {SafetensorsType::kBool, "BOOL", 1},
    {SafetensorsType::kF8E4M3, "F8_E4M3", 1},
}};

// A name as it may appear in a message: hostile bytes become '?', and no more than 64 of them.
std::string Shown(std::string_view name) {
  std::string shown(name.substr(0, 64));
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return shown;
}

absl::Status Refuse(std::string_view name, std::string_view seen, std::string_view wanted) {
  return absl::InvalidArgumentError(Message("safetensors: ", Shown(name), ": ", seen, "; wanted ", wanted));
}

std::string ShapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += Message(text.size() > 1 ? ", " : "", extent);
  return text + "]";
}

struct Placed {
  SafetensorsTensor tensor;
  uint64_t begin = 0, end = 0;
};

absl::StatusOr<Placed> ParseTensor(const std::string& name, const nlohmann::json& entry,
                                   uint64_t data_bytes) {
  if (auto status = JsonHasExactly(entry, {"dtype", "shape", "data_offsets"}); !status.ok()) {
    return Refuse(name, Message(status.message()), "dtype, shape and data_offsets");
  }
  Placed placed;
  const auto dtype = JsonString(entry, "dtype", 16);
  const auto row = std::find_if(kTypes.begin(), kTypes.end(),
                                [&](const TypeRow& r) { return dtype.ok() && r.name == *dtype; });
  if (row == kTypes.end()) {
    return Refuse(name, Message("dtype ", JsonExcerpt(entry["dtype"])),
                  "F64, F32, F16, BF16, I64, I32, U8, BOOL or F8_E4M3");
  }
  placed.tensor.type = row->type;
  const auto& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kSafetensorsDimensionsMax) {
    return Refuse(name, "shape of another form", Message("an array of at most ", kSafetensorsDimensionsMax));
  }
  uint64_t bytes = row->width;
  for (const auto& dimension : shape) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > INT64_MAX) {
      return Refuse(name, Message("dimension ", JsonExcerpt(dimension)), "an integer from 0");
    }
    const auto extent = dimension.get<uint64_t>();
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      return Refuse(name, "a shape whose size overflows", "a tensor that fits in the file");
    }
    placed.tensor.shape.push_back(static_cast<int64_t>(extent));
  }
  const auto& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return Refuse(name, "data_offsets of another form", "[begin, end]");
  }
  placed.begin = offsets[0].get<uint64_t>();
  placed.end = offsets[1].get<uint64_t>();
  if (placed.begin > placed.end || placed.end > data_bytes) {
    return Refuse(name, Message("data_offsets [", placed.begin, ", ", placed.end, "]"),
                  Message("0 <= begin <= end <= ", data_bytes));
  }
  if (placed.end - placed.begin != bytes) {
    return Refuse(name, Message(placed.end - placed.begin, " bytes of data"),
                  Message(bytes, ", the product of shape and width"));
  }
  return placed;
}

}  // namespace

std::string_view SafetensorsTypeName(SafetensorsType type) {
  return kTypes[static_cast<size_t>(type)].name;
}
size_t SafetensorsTypeWidth(SafetensorsType type) {
  return kTypes[static_cast<size_t>(type)].width;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Parse(std::span<const uint8_t> bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    return Refuse("file", Message(bytes.size(), " bytes"), "a header length of 8 bytes");
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kSafetensorsHeaderBytesMax || header_bytes > bytes.size() - sizeof header_bytes) {
    return Refuse("header length", Message(header_bytes),
                  Message("at most ", std::min<uint64_t>(kSafetensorsHeaderBytesMax,
                                                         bytes.size() - sizeof header_bytes)));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof header_bytes,
                              header_bytes);
  if (text.empty() || text[0] != '{') return Refuse("header", "does not start with '{'", "a JSON object");
  const auto header = ParseStrictJson(text, "safetensors: header", {kSafetensorsHeaderBytesMax, 3});
  if (!header.ok()) return header.status();
  if (header->size() > kSafetensorsTensorsMax) {
    return Refuse("header", Message(header->size(), " members"), Message("at most ", kSafetensorsTensorsMax));
  }
  const auto data = bytes.subspan(sizeof header_bytes + header_bytes);

  SafetensorsFile file;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [name, entry] : header->items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return Refuse(name, JsonExcerpt(entry), "an object of strings");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) return Refuse(name, JsonExcerpt(value), "an object of strings");
        file.metadata_.emplace(key, value.get<std::string>());
      }
      continue;
    }
    auto placed = ParseTensor(name, entry, data.size());
    if (!placed.ok()) return placed.status();
    placed->tensor.data = data.subspan(placed->begin, placed->end - placed->begin);
    ranges.emplace_back(placed->begin, placed->end);
    file.tensors_.emplace(name, std::move(placed->tensor));
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t expected = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != expected) {
      return Refuse("data_offsets", Message("a hole or an overlap at ", begin),
                    Message("the next tensor at ", expected));
    }
    expected = end;
  }
  if (expected != data.size()) {
    return Refuse("data", Message(data.size(), " bytes"), Message(expected, ", where the last tensor ends"));
  }
  return file;
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const std::string message = Message(path, ": cannot open (", std::strerror(errno), ")");
    return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0) {
    close(fd);
    return absl::InvalidArgumentError(Message(path, ": empty or not a regular file"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  close(fd);
  if (address == MAP_FAILED) {
    return absl::UnavailableError(Message(path, ": cannot map (", std::strerror(error), ")"));
  }
  std::shared_ptr<const void> mapping(address, [size](const void* p) { munmap(const_cast<void*>(p), size); });
  auto file = Parse(std::span(static_cast<const uint8_t*>(address), size));
  if (!file.ok()) return absl::Status(file.status().code(), Message(path, ": ", file.status().message()));
  file->mapping_ = std::move(mapping);
  return file;
}

absl::Status SafetensorsFile::ReadFloats(std::string_view name, std::span<const int64_t> shape,
                                         std::span<float> target) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(Message("safetensors: ", Shown(name), ": missing"));
  }
  const SafetensorsTensor& tensor = found->second;
  if (!std::equal(shape.begin(), shape.end(), tensor.shape.begin(), tensor.shape.end())) {
    return Refuse(name, Message("shape ", ShapeText(tensor.shape)), ShapeText(shape));
  }
  const size_t count = tensor.data.size() / SafetensorsTypeWidth(tensor.type);
  assert(count == target.size());  // the caller sized the target from the shape
  const auto half = [&](size_t i) {
    uint16_t bits;
    std::memcpy(&bits, tensor.data.data() + 2 * i, sizeof bits);
    return bits;
  };
  switch (tensor.type) {
    case SafetensorsType::kF32:
      if (count > 0) std::memcpy(target.data(), tensor.data.data(), tensor.data.size());
      return absl::OkStatus();
    case SafetensorsType::kBF16:
      for (size_t i = 0; i < count; ++i) target[i] = FloatFromBf16(half(i));
      return absl::OkStatus();
    case SafetensorsType::kF16:
      for (size_t i = 0; i < count; ++i) target[i] = FloatFromF16(half(i));
      return absl::OkStatus();
    default:
      return Refuse(name, Message("dtype ", SafetensorsTypeName(tensor.type)), "F32, F16 or BF16");
  }
}

absl::Status WriteSafetensors(const std::string& path,
                              const std::map<std::string, SafetensorsTensor, std::less<>>& tensors,
                              const std::map<std::string, std::string, std::less<>>& metadata) {
  using Item = std::pair<const std::string, SafetensorsTensor>;
  std::vector<const Item*> order;
  for (const Item& item : tensors) order.push_back(&item);
  // The map gives names in byte order; wider types go first so that every tensor is aligned to its element.
  std::stable_sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return SafetensorsTypeWidth(a->second.type) > SafetensorsTypeWidth(b->second.type);
  });
  auto header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const Item* item : order) {
    const SafetensorsTensor& tensor = item->second;
    uint64_t bytes = SafetensorsTypeWidth(tensor.type);
    for (const int64_t extent : tensor.shape) bytes *= static_cast<uint64_t>(extent);
    assert(bytes == tensor.data.size() && item->first != "__metadata__");
    header[item->first] = {{"dtype", SafetensorsTypeName(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t header_bytes = text.size();

  auto file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  auto status = file->Write(std::span(reinterpret_cast<const uint8_t*>(&header_bytes), sizeof header_bytes));
  if (status.ok()) status = file->Write(text);
  for (const Item* item : order) {
    if (status.ok()) status = file->Write(item->second.data);
  }
  return status.ok() ? file->Commit() : status;
}

uint16_t Bf16FromFloat(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);  // quiet, payload kept
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float FloatFromBf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

float FloatFromF16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 31;
  const uint32_t fraction = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) {  // zero or subnormal: fraction units of 2^-24
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

}  // namespace retort::student
