// What an examination of an installation found.
#ifndef SERVICES_DOCTOR_FINDING_H_
#define SERVICES_DOCTOR_FINDING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace retort::services {

struct Finding {
  enum class State { kGood, kWarning, kBad };
  State state = State::kGood;
  std::string what;    // "certificate", "keys.log": what was looked at
  std::string seen;    // one line
  std::string advice;  // what to do; empty when good
};

// "good", "warning", "bad".
std::string StateName(Finding::State state);

inline Finding Good(std::string what, std::string seen) {
  return {Finding::State::kGood, std::move(what), std::move(seen), ""};
}
inline Finding Warning(std::string what, std::string seen, std::string advice) {
  return {Finding::State::kWarning, std::move(what), std::move(seen), std::move(advice)};
}
inline Finding Bad(std::string what, std::string seen, std::string advice) {
  return {Finding::State::kBad, std::move(what), std::move(seen), std::move(advice)};
}
// `status` as a finding: good with `seen`, or bad with its message.
Finding FromStatus(std::string what, const absl::Status& status, std::string seen, std::string advice);

}  // namespace retort::services

#endif  // SERVICES_DOCTOR_FINDING_H_
