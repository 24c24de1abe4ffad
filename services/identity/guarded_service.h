// A gRPC service with the access guard in front of every method. Handlers cannot forget it: they are not
// registered with the server, this is.
#ifndef SERVICES_IDENTITY_GUARDED_SERVICE_H_
#define SERVICES_IDENTITY_GUARDED_SERVICE_H_

#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/auth_metadata_processor.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/identity/access_guard.h"
#include "services/identity/call_limits.h"

namespace retort::services {

// What a server registers in place of a generated service. The request is read, then CallLimits and
// AccessGuard::Check decide; a refusal goes to the caller with its details, and the handler never runs.
class GuardedService final : public grpc::Service {
 public:
  // `service` is the synchronous implementation of the proto service `name`, for example
  // retort.jobs.v1.JobsService. Neither it nor the guard nor the limits are owned; all outlive this. Null
  // limits let everybody call as often as they like. FailedPrecondition when a method has no complete rule
  // (MethodRule::Of) or is implemented by callbacks, which this cannot stand in front of; NotFound when no
  // such service is linked.
  static absl::StatusOr<std::unique_ptr<GuardedService>> Make(grpc::Service* service, const std::string& name,
                                                              const AccessGuard* guard, CallLimits* limits);
  ~GuardedService() override;

  // "/package.Service/Method" of each method.
  const std::vector<std::string>& methods() const { return methods_; }

 private:
  GuardedService() = default;

  std::vector<std::string> methods_;  // registered by address, so it never grows after Make
};

// Turns callers away before their request is read: those without an identity, and those without any role.
// Set on the server's credentials, it also covers reflection, health and methods that do not exist. Errors of
// this place carry a code and a message but no details: gRPC has no room for them here.
class AdmissionProcessor final : public grpc::AuthMetadataProcessor {
 public:
  // `methods` are those that are served; others are recorded as _OTHER. The guard is not owned.
  AdmissionProcessor(const AccessGuard* guard, std::set<std::string> methods)
      : guard_(guard), methods_(std::move(methods)) {}

  bool IsBlocking() const override { return false; }  // a look into a table
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata* consumed,
                       OutputMetadata* response) override;

 private:
  const AccessGuard* const guard_;
  const std::set<std::string> methods_;
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_GUARDED_SERVICE_H_
