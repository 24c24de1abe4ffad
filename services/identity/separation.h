// Separation of duties: who began something does not also approve it. Roles cannot say this, since one person
// may hold two of them; these checks compare the two identities.
#ifndef SERVICES_IDENTITY_SEPARATION_H_
#define SERVICES_IDENTITY_SEPARATION_H_

#include <string>

#include "absl/status/status.h"

namespace retort::services {

// A review of samples of `job` by `reviewer`, which `submitter` handed in. PermissionDenied
// (SEPARATION_OF_DUTIES) when they are the same identity, or when either is unknown: what cannot be compared
// is not approved.
absl::Status CheckMayReview(const std::string& reviewer, const std::string& submitter,
                            const std::string& job);

// The activation by `activator` of a policy revision that `author` wrote. As above.
absl::Status CheckMayActivate(const std::string& activator, const std::string& author,
                              const std::string& revision);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_SEPARATION_H_
