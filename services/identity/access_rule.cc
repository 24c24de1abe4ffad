#include "services/identity/access_rule.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <map>
#include <utility>

#include "services/edge/resource_name.h"

namespace retort::services {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr size_t kResourceBytesMax = 512;

AccessRule MakeRule(std::initializer_list<Role> roles, const char* resource, Audit audit) {
  AccessRule rule;
  for (const Role role : roles) rule.add_roles(role);
  rule.set_resource(resource);
  rule.set_audit(audit);
  return rule;
}

// The option of a method, or what stands for it with public protos, which are served as they were published
// and cannot carry ours. Null without either.
const AccessRule* OptionOf(const google::protobuf::MethodDescriptor& method) {
  if (method.options().HasExtension(access)) return &method.options().GetExtension(access);
  static const auto& published = *new std::map<std::string, AccessRule>{
      {"google.longrunning.Operations.ListOperations", MakeRule({ROLE_VIEWER}, "name", AUDIT_REFUSALS)},
      {"google.longrunning.Operations.GetOperation", MakeRule({ROLE_VIEWER}, "name", AUDIT_REFUSALS)},
      {"google.longrunning.Operations.WaitOperation", MakeRule({ROLE_VIEWER}, "name", AUDIT_REFUSALS)},
      // Operations read evidence, so those whose work it may be about neither stop one nor forget its
      // outcome.
      {"google.longrunning.Operations.CancelOperation",
       MakeRule({ROLE_AUDITOR, ROLE_OPERATOR}, "name", AUDIT_ALL)},
      {"google.longrunning.Operations.DeleteOperation",
       MakeRule({ROLE_AUDITOR, ROLE_OPERATOR}, "name", AUDIT_ALL)},
  };
  const auto found = published.find(method.full_name());
  return found == published.end() ? nullptr : &found->second;
}

absl::Status Incomplete(const std::string& method, const std::string& what) {
  return absl::FailedPreconditionError("method " + method + ": " + what + " (proto/retort/access.proto)");
}

// The fields that `path` names, from `message` down to a text.
absl::StatusOr<std::vector<const FieldDescriptor*>> Resolve(const Descriptor* message,
                                                            const std::string& path) {
  std::vector<const FieldDescriptor*> fields;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const FieldDescriptor* field =
        message == nullptr ? nullptr : message->FindFieldByName(path.substr(begin, end - begin));
    if (field == nullptr || field->is_repeated()) return absl::NotFoundError("no such field");
    fields.push_back(field);
    message = field->type() == FieldDescriptor::TYPE_MESSAGE ? field->message_type() : nullptr;
    begin = end + 1;
  }
  if (fields.back()->type() != FieldDescriptor::TYPE_STRING) return absl::NotFoundError("no text");
  return fields;
}

}  // namespace

std::string RoleName(Role role) {
  std::string name = Role_Name(role).substr(std::string_view("ROLE_").size());
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

std::string RoleNames(RoleSet roles) {
  std::string names;
  for (int role = 1; role < 64; ++role) {
    if ((roles >> role & 1) != 0) names += (names.empty() ? "" : " or ") + RoleName(static_cast<Role>(role));
  }
  return names;
}

absl::StatusOr<MethodRule> MethodRule::Of(const google::protobuf::MethodDescriptor& method) {
  MethodRule rule;
  rule.method_ = "/" + method.service()->full_name() + "/" + method.name();
  if (method.client_streaming()) {
    return Incomplete(rule.method_,
                      "takes a stream of requests, which no guard can look at before the handler");
  }
  const AccessRule* found = OptionOf(method);
  if (found == nullptr) return Incomplete(rule.method_, "has no option retort.access");
  const AccessRule& option = *found;
  bool people = false;
  for (const int role : option.roles()) {
    if (role == ROLE_UNSPECIFIED) return Incomplete(rule.method_, "names the role UNSPECIFIED");
    rule.roles_ |= RoleBit(static_cast<Role>(role));
    people = people || !IsServiceRole(static_cast<Role>(role));
  }
  if (rule.roles_ == 0) return Incomplete(rule.method_, "names no role");
  if (option.audit() == AUDIT_UNSPECIFIED) return Incomplete(rule.method_, "does not say what is audited");
  rule.audit_ = option.audit();
  if (option.resource().empty()) {
    if (people) return Incomplete(rule.method_, "has roles of projects and no resource");
    return rule;
  }
  auto fields = Resolve(method.input_type(), option.resource());
  if (!fields.ok()) {
    return Incomplete(rule.method_, "resource '" + option.resource() + "' is no text field of " +
                                        method.input_type()->full_name());
  }
  rule.resource_field_ = option.resource();
  rule.resource_ = *std::move(fields);
  return rule;
}

std::string MethodRule::ResourceOf(const google::protobuf::Message& request) const {
  const google::protobuf::Message* message = &request;
  for (size_t i = 0; i + 1 < resource_.size(); ++i) {
    message = &message->GetReflection()->GetMessage(*message, resource_[i]);
  }
  return message->GetReflection()->GetString(*message, resource_.back());
}

std::string ProjectIn(std::string_view resource) {
  constexpr std::string_view kPrefix = "projects/";
  const auto in_names = [](unsigned char c) {
    return std::isalnum(c) || c == '/' || c == '-' || c == '_' || c == '.';
  };
  if (resource.size() > kResourceBytesMax || !resource.starts_with(kPrefix) ||
      !std::all_of(resource.begin(), resource.end(), in_names)) {
    return "";
  }
  const std::string_view rest = resource.substr(kPrefix.size());
  const std::string_view id = rest.substr(0, rest.find('/'));
  return IsResourceId(id) ? std::string(id) : "";
}

}  // namespace retort::services
