// Any bytes as config.json: refused, or a shape that can be written and read again.
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "student/export/config_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort::student;
  const auto config = ParseConfigJson({reinterpret_cast<const char*>(data), size});
  if (!config.ok()) return 0;
  const auto again = ParseConfigJson(ConfigJson(*config, {}));
  assert(again.ok() && *again == *config);
  return 0;
}
