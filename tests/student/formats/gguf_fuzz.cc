// Any bytes as a GGUF file: parsed, read through every accessor, dequantised, and offered to the model
// loader.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "student/formats/gguf.h"
#include "student/inference/llama_model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort::student;
  auto file = GgufFile::Parse({data, size});
  if (!file.ok()) return 0;
  for (const char* key :
       {"general.name", "general.architecture", "general.alignment", "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type", "llama.block_count", "llama.rope.freq_base"}) {
    (void)(*file)->GetString(key);
    (void)(*file)->GetUint(key);
    (void)(*file)->GetFloat(key);
    (void)(*file)->GetBool(key);
    (void)(*file)->GetStrings(key);
    (void)(*file)->GetInts(key);
  }
  for (const GgufTensor& tensor : (*file)->tensors()) {
    const GgufTypeTraits* traits = FindGgufType(static_cast<uint32_t>(tensor.type));
    std::vector<float> row(tensor.dims[0]);
    DequantizeGguf(traits->type, tensor.data.data() + (tensor.rows() - 1) * tensor.row_bytes(), row.size(),
                   row.data());
  }
  (void)LlamaModel::FromGguf(*std::move(file));
  return 0;
}
