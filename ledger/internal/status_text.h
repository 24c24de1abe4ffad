// Messages of statuses as standard strings: Debian's Abseil has a string_view of its own. Implementation
// only.
#ifndef LEDGER_INTERNAL_STATUS_TEXT_H_
#define LEDGER_INTERNAL_STATUS_TEXT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace retort::ledger::internal {

inline std::string_view MessageOf(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

// The same code and payloads, with "<subject>: " in front of the message.
inline absl::Status About(std::string_view subject, const absl::Status& status) {
  if (status.ok()) return status;
  absl::Status result(status.code(), std::string(subject) + ": " + std::string(MessageOf(status)));
  status.ForEachPayload([&result](auto url, const auto& payload) { result.SetPayload(url, payload); });
  return result;
}

}  // namespace retort::ledger::internal

#endif  // LEDGER_INTERNAL_STATUS_TEXT_H_
