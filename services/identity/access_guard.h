// Decides about each call before its handler runs: who calls, whether the method is for them, and whether it
// is in the project that the request names. What is decided is audited.
//
// services/identity/guarded_service.h puts it in front of every method of a gRPC server; this part knows no
// gRPC.
#ifndef SERVICES_IDENTITY_ACCESS_GUARD_H_
#define SERVICES_IDENTITY_ACCESS_GUARD_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "services/identity/access_audit.h"
#include "services/identity/access_file.h"
#include "services/identity/access_rule.h"
#include "services/identity/spiffe_id.h"

namespace retort::services {

// Thread-safe.
class AccessGuard {
 public:
  // Neither is owned; both outlive the guard.
  AccessGuard(const AccessFile* file, AccessAudit* audit) : file_(file), audit_(audit) {}

  // The caller with these URIs in its verified certificate, before anything of the request was read.
  // Unauthenticated (UNAUTHENTICATED) without exactly one SPIFFE id of the deployment's trust domain,
  // PermissionDenied (PERMISSION_DENIED) for one that holds no role anywhere. `method` is recorded as it is,
  // so pass _OTHER for one that is not served.
  absl::StatusOr<SpiffeId> Admit(const std::vector<std::string>& uris, const std::string& method) const;

  // The call itself. In this order:
  //   PermissionDenied  (PERMISSION_DENIED) the caller holds none of the rule's roles in any project;
  //   InvalidArgument   (INVALID_FIELD) the request names no project where the rule wants one;
  //   PermissionDenied  the caller holds none of them in that project, which need not exist;
  //   Unavailable       (LEDGER_UNAVAILABLE) the allowance must be audited and could not be.
  absl::Status Check(const SpiffeId& caller, const MethodRule& rule,
                     const google::protobuf::Message& request) const;

  // Whether this is a service of the deployment, by its roles.
  bool IsService(const SpiffeId& caller) const;

 private:
  absl::Status Refuse(const SpiffeId& caller, const MethodRule& rule, const std::string& project) const;

  const AccessFile* const file_;
  AccessAudit* const audit_;
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_ACCESS_GUARD_H_
