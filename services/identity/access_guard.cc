#include "services/identity/access_guard.h"

#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr RoleSet ServiceRoles() {
  RoleSet roles = 0;
  for (int role = ROLE_SERVICE_JOBS; role < Role_ARRAYSIZE; ++role) roles |= RoleBit(static_cast<Role>(role));
  return roles;
}
constexpr RoleSet kServiceRoles = ServiceRoles();

}  // namespace

absl::StatusOr<SpiffeId> AccessGuard::Admit(const std::vector<std::string>& uris,
                                            const std::string& method) const {
  const auto table = file_->table();
  auto identity = SpiffeId::FromCertificateUris(uris);
  if (identity.ok() && identity->trust_domain() != table->trust_domain()) {
    identity =
        absl::InvalidArgumentError("the identity is of another trust domain than " + table->trust_domain());
  }
  if (!identity.ok()) {
    audit_->Refuse({.identity = "", .method = method, .project = "", .reason = "UNAUTHENTICATED"});
    return WithReason(absl::UnauthenticatedError(std::string(identity.status().message())), UNAUTHENTICATED);
  }
  if (table->Knows(*identity)) return identity;
  audit_->Refuse(
      {.identity = identity->text(), .method = method, .project = "", .reason = "PERMISSION_DENIED"});
  return WithReason(
      absl::PermissionDeniedError(identity->text() + " holds no role here: an operator grants roles in "
                                                     "the access file"),
      PERMISSION_DENIED, {{"identity", identity->text()}});
}

absl::Status AccessGuard::Check(const SpiffeId& caller, const MethodRule& rule,
                                const google::protobuf::Message& request) const {
  const auto table = file_->table();
  const std::string resource = rule.has_resource() ? rule.ResourceOf(request) : "";
  const std::string project = ProjectIn(resource);
  if (!table->HoldsSomewhere(caller, rule.roles())) return Refuse(caller, rule, project);
  if (!rule.has_resource()) return absl::OkStatus();  // roles of services only, which hold everywhere
  if (project.empty()) {
    return InvalidField(rule.resource_field(), resource, "a name that begins with projects/{project}");
  }
  if (!table->Holds(caller, rule.roles(), project)) return Refuse(caller, rule, project);
  if (rule.audit() != AUDIT_ALL) return absl::OkStatus();
  if (project == kDeploymentProject) {
    return InvalidField(rule.resource_field(), resource,
                        "another project: this one is the deployment's own log, which nobody writes to");
  }
  return audit_->Allow(caller.text(), rule.method(), project, resource);
}

bool AccessGuard::IsService(const SpiffeId& caller) const {
  return file_->table()->HoldsSomewhere(caller, kServiceRoles);
}

absl::Status AccessGuard::Refuse(const SpiffeId& caller, const MethodRule& rule,
                                 const std::string& project) const {
  audit_->Refuse({.identity = caller.text(),
                  .method = rule.method(),
                  .project = project,
                  .reason = "PERMISSION_DENIED"});
  const std::string where = project.empty() ? "" : " in projects/" + project;
  const std::string roles = RoleNames(rule.roles());
  return WithReason(
      absl::PermissionDeniedError(caller.text() + " may not call " + rule.method() + where +
                                  ": wanted the role " + roles),
      PERMISSION_DENIED,
      {{"identity", caller.text()}, {"method", rule.method()}, {"project", project}, {"roles", roles}});
}

}  // namespace retort::services
