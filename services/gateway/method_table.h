// The methods that the gateway serves, read from the descriptors that are linked into the program: a new rpc
// needs no code here.
#ifndef SERVICES_GATEWAY_METHOD_TABLE_H_
#define SERVICES_GATEWAY_METHOD_TABLE_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"

namespace retort::services::gateway {

// Immutable; safe on any thread.
class MethodTable {
 public:
  // Of the services with these full names. NotFound when one is not linked into this program.
  static absl::StatusOr<MethodTable> Make(const std::vector<std::string>& services);

  // The method of "/package.Service/Method", null without one.
  const google::protobuf::MethodDescriptor* Find(std::string_view path) const;

  size_t size() const { return methods_.size(); }

 private:
  std::map<std::string, const google::protobuf::MethodDescriptor*, std::less<>> methods_;
};

// True for methods that may be called by GET: unary, and marked NO_SIDE_EFFECTS.
bool MayGet(const google::protobuf::MethodDescriptor& method);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_METHOD_TABLE_H_
