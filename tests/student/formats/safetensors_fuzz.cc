// Any bytes as a safetensors file: refused, or every tensor it names lies inside it.
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "student/formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = retort::student::SafetensorsFile::Parse({data, size});
  if (!file.ok()) return 0;
  for (const auto& [name, tensor] : file->tensors()) {
    assert(tensor.data.empty() ||
           (tensor.data.data() >= data && tensor.data.data() + tensor.data.size() <= data + size));
    (void)tensor;
  }
  return 0;
}
