// Any bytes as a training manifest: refused, or exactly the bytes that it writes again.
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "student/training/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto manifest = retort::student::TrainingManifest::Parse(text);
  assert(!manifest.ok() || manifest->ToJson() == text);
  return 0;
}
