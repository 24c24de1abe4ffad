// What a method's `access` option (proto/retort/access.proto) asks of its callers.
#ifndef SERVICES_IDENTITY_ACCESS_RULE_H_
#define SERVICES_IDENTITY_ACCESS_RULE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "retort/access.pb.h"

namespace retort::services {

// A set of roles, one bit each.
using RoleSet = uint64_t;

inline constexpr RoleSet RoleBit(Role role) {
  return RoleSet{1} << static_cast<int>(role);
}
inline constexpr bool IsServiceRole(Role role) {
  return role >= ROLE_SERVICE_JOBS;
}

// "submitter" and so on, as an access file spells it.
std::string RoleName(Role role);
// "submitter or operator".
std::string RoleNames(RoleSet roles);

// Id of the project whose log holds what belongs to no project: a reserved id, which only audit and reads
// use.
inline constexpr char kDeploymentProject[] = "deployment";

// Immutable; safe on any thread.
class MethodRule {
 public:
  // The rule of a method. FailedPrecondition, naming the method, when it has none, or one that is incomplete:
  // no role, no audit, a `resource` that is not a text field of the request, or none though a role belongs to
  // projects; and for a method that streams requests, since a guard before the handler would see none.
  static absl::StatusOr<MethodRule> Of(const google::protobuf::MethodDescriptor& method);

  const std::string& method() const { return method_; }  // /package.Service/Method
  RoleSet roles() const { return roles_; }
  Audit audit() const { return audit_; }
  bool has_resource() const { return !resource_.empty(); }
  // The field's name, for messages.
  const std::string& resource_field() const { return resource_field_; }
  // What the request says in it. `request` is of the method's input type.
  std::string ResourceOf(const google::protobuf::Message& request) const;

 private:
  MethodRule() = default;

  std::string method_, resource_field_;
  RoleSet roles_ = 0;
  Audit audit_ = AUDIT_UNSPECIFIED;
  std::vector<const google::protobuf::FieldDescriptor*> resource_;  // messages on the way, then the text
};

// The id in "projects/{id}" or "projects/{id}/...". Empty when `resource` does not begin so, or is longer
// than 512 bytes or holds other bytes than names do.
std::string ProjectIn(std::string_view resource);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_ACCESS_RULE_H_
