// Who holds which role where: an access policy, checked and made quick to ask.
#ifndef SERVICES_IDENTITY_ACCESS_TABLE_H_
#define SERVICES_IDENTITY_ACCESS_TABLE_H_

#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "retort/server/v1/access_policy.pb.h"
#include "services/identity/access_rule.h"
#include "services/identity/spiffe_id.h"

namespace retort::services {

// Immutable; safe on any thread. What is not granted is not held.
class AccessTable {
 public:
  // InvalidArgument (INVALID_FIELD) names the grant, what was seen and what is wanted: an identity that is no
  // SPIFFE id or of another trust domain, no or a repeated role, no project, an id that is none, "*" beside
  // others, a role of services for less than all projects, or more than 10,000 grants.
  static absl::StatusOr<AccessTable> Make(const server::v1::AccessPolicy& policy);

  // True when the identity holds any role anywhere.
  bool Knows(const SpiffeId& identity) const;

  // True when the identity holds one of `roles` in some project.
  bool HoldsSomewhere(const SpiffeId& identity, RoleSet roles) const;

  // True when the identity holds one of `roles` in the project of that id.
  bool Holds(const SpiffeId& identity, RoleSet roles, const std::string& project) const;

  const std::string& trust_domain() const { return trust_domain_; }

 private:
  struct Held {
    RoleSet everywhere = 0;
    RoleSet somewhere = 0;  // everywhere included
    std::unordered_map<std::string, RoleSet> in_project;
  };
  AccessTable() = default;
  const Held* Find(const SpiffeId& identity) const;

  std::string trust_domain_;
  std::unordered_map<std::string, Held> held_;  // by the text of the identity
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_ACCESS_TABLE_H_
