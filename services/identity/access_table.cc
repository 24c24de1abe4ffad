#include "services/identity/access_table.h"

#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr int kGrantsMax = 10'000;

absl::StatusOr<RoleSet> RolesOf(const std::string& field, const server::v1::Grant& grant, bool* services) {
  RoleSet roles = 0;
  for (const int number : grant.roles()) {
    if (!Role_IsValid(number) || number == ROLE_UNSPECIFIED)
      return InvalidField(field + ".roles", std::to_string(number), "a role");
    const Role role = static_cast<Role>(number);
    if ((roles & RoleBit(role)) != 0) return InvalidField(field + ".roles", RoleName(role), "each role once");
    roles |= RoleBit(role);
    if (IsServiceRole(role)) {
      *services = true;
    } else {
      roles |= RoleBit(ROLE_VIEWER);
    }
  }
  if (roles == 0) return InvalidField(field + ".roles", "", "at least one role");
  return roles;
}

}  // namespace

absl::StatusOr<AccessTable> AccessTable::Make(const server::v1::AccessPolicy& policy) {
  if (!IsTrustDomain(policy.trust_domain())) {
    return InvalidField("trust_domain", policy.trust_domain(), "a trust domain like retort.example");
  }
  if (policy.grants().empty() || policy.grants_size() > kGrantsMax) {
    return InvalidField("grants", std::to_string(policy.grants_size()), "1 to " + std::to_string(kGrantsMax));
  }
  AccessTable table;
  table.trust_domain_ = policy.trust_domain();
  for (int i = 0; i < policy.grants_size(); ++i) {
    const server::v1::Grant& grant = policy.grants(i);
    const std::string field = "grants[" + std::to_string(i) + "]";
    const auto identity = SpiffeId::Parse(grant.identity());
    if (!identity.ok()) {
      return InvalidField(field + ".identity", grant.identity(),
                          "spiffe://" + policy.trust_domain() + "/<path>");
    }
    if (identity->trust_domain() != policy.trust_domain()) {
      return InvalidField(field + ".identity", grant.identity(),
                          "an identity of the trust domain " + policy.trust_domain());
    }
    bool services = false;
    const auto roles = RolesOf(field, grant, &services);
    if (!roles.ok()) return roles.status();
    const bool everywhere = grant.projects_size() == 1 && grant.projects(0) == "*";
    if (grant.projects().empty())
      return InvalidField(field + ".projects", "", "ids of projects, or \"*\" alone");
    if (services && !everywhere) {
      return InvalidField(field + ".projects", grant.projects(0),
                          "\"*\" alone: a service of the deployment serves all its projects");
    }
    Held& held = table.held_[identity->text()];
    held.somewhere |= *roles;
    if (everywhere) {
      held.everywhere |= *roles;
      continue;
    }
    for (const std::string& project : grant.projects()) {
      if (!IsResourceId(project)) {
        return InvalidField(field + ".projects", project, "[a-z]([a-z0-9-]{0,61}[a-z0-9])?, or \"*\" alone");
      }
      held.in_project[project] |= *roles;
    }
  }
  return table;
}

const AccessTable::Held* AccessTable::Find(const SpiffeId& identity) const {
  const auto found = held_.find(identity.text());
  return found == held_.end() ? nullptr : &found->second;
}

bool AccessTable::Knows(const SpiffeId& identity) const {
  return Find(identity) != nullptr;
}

bool AccessTable::HoldsSomewhere(const SpiffeId& identity, RoleSet roles) const {
  const Held* held = Find(identity);
  return held != nullptr && (held->somewhere & roles) != 0;
}

bool AccessTable::Holds(const SpiffeId& identity, RoleSet roles, const std::string& project) const {
  const Held* held = Find(identity);
  if (held == nullptr) return false;
  if ((held->everywhere & roles) != 0) return true;
  const auto found = held->in_project.find(project);
  return found != held->in_project.end() && (found->second & roles) != 0;
}

}  // namespace retort::services
