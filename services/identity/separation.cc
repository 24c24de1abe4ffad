#include "services/identity/separation.h"

#include "services/edge/status.h"

namespace retort::services {
namespace {

absl::Status CheckTwo(const std::string& second, const std::string& first, const std::string& what,
                      const std::string& resource) {
  if (!first.empty() && !second.empty() && first != second) return absl::OkStatus();
  const std::string why =
      first.empty() || second.empty() ? "it is not known who " + what : second + " " + what;
  return WithReason(absl::PermissionDeniedError(resource + ": " + why + "; another identity must approve it"),
                    SEPARATION_OF_DUTIES, {{"name", resource}, {"identity", second}});
}

}  // namespace

absl::Status CheckMayReview(const std::string& reviewer, const std::string& submitter,
                            const std::string& job) {
  return CheckTwo(reviewer, submitter, "handed this job in", job);
}

absl::Status CheckMayActivate(const std::string& activator, const std::string& author,
                              const std::string& revision) {
  return CheckTwo(activator, author, "wrote this revision", revision);
}

}  // namespace retort::services
