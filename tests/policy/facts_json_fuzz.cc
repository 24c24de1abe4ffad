// Any bytes as facts: what is accepted is written back byte for byte, and can be decided about.
#include <cstdint>
#include <cstdlib>

#include "policy/evaluate.h"
#include "policy/facts.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto facts = retort::policy::FactsFromCanonicalJson(text);
  if (!facts.ok()) return 0;
  if (retort::policy::FactsToCanonicalJson(*facts) != text) std::abort();
  if (retort::policy::Evaluate(retort::policy::PackSet(), *facts).effect == retort::policy::Effect::kAllow)
    std::abort();
  return 0;
}
