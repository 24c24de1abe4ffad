// Any bytes as text: no crash, no hang, and findings that the facts may hold.
#include <cstdint>
#include <cstdlib>

#include "policy/facts.h"
#include "policy/screening.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  retort::policy::v1::Facts facts;
  *facts.mutable_screening() = retort::policy::Screen({text}, text, "stop");
  if (!retort::policy::ValidateFacts(facts).ok()) std::abort();
  for (const auto& [kind, count] : facts.screening().findings()) {
    if (count % 2 != 0) std::abort();  // the same text twice holds everything twice
  }
  return 0;
}
