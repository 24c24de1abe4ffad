#include "services/doctor/finding.h"

namespace retort::services {

std::string StateName(Finding::State state) {
  switch (state) {
    case Finding::State::kGood:
      return "good";
    case Finding::State::kWarning:
      return "warning";
    default:
      return "bad";
  }
}

Finding FromStatus(std::string what, const absl::Status& status, std::string seen, std::string advice) {
  if (status.ok()) return Good(std::move(what), std::move(seen));
  return Bad(std::move(what), std::string(status.message()), std::move(advice));
}

}  // namespace retort::services
