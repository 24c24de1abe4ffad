#include "services/gateway/method_table.h"

#include "google/protobuf/descriptor.pb.h"

namespace retort::services::gateway {

absl::StatusOr<MethodTable> MethodTable::Make(const std::vector<std::string>& services) {
  MethodTable table;
  for (const std::string& name : services) {
    const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) return absl::NotFoundError("no service " + name + " is linked into this program");
    for (int i = 0; i < service->method_count(); ++i) {
      table.methods_.emplace("/" + name + "/" + service->method(i)->name(), service->method(i));
    }
  }
  return table;
}

const google::protobuf::MethodDescriptor* MethodTable::Find(std::string_view path) const {
  const auto found = methods_.find(path);
  return found == methods_.end() ? nullptr : found->second;
}

bool MayGet(const google::protobuf::MethodDescriptor& method) {
  return !method.client_streaming() && !method.server_streaming() &&
         method.options().idempotency_level() == google::protobuf::MethodOptions::NO_SIDE_EFFECTS;
}

}  // namespace retort::services::gateway
