// No input crashes the parser, and whatever it accepts is written back byte for byte.
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proto/canonical_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto value = retort::ParseCanonicalJson(text, 1 << 16); value.ok()) {
    assert(retort::WriteCanonicalJson(*value) == text);
  }
  return 0;
}
