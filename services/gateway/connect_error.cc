#include "services/gateway/connect_error.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/support/status.h>

#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "google/rpc/status.pb.h"
#include "services/gateway/metadata.h"

namespace retort::services::gateway {
namespace {

using nlohmann::json;

struct CodeRow {
  std::string_view name;
  int http_status;
};

// By number of the gRPC code; the table of the specification.
constexpr CodeRow kCodes[] = {
    {"unknown", 500},            // OK is no error
    {"canceled", 499},           //
    {"unknown", 500},            //
    {"invalid_argument", 400},   //
    {"deadline_exceeded", 504},  //
    {"not_found", 404},          //
    {"already_exists", 409},     //
    {"permission_denied", 403},  //
    {"resource_exhausted", 429},
    {"failed_precondition", 400},
    {"aborted", 409},
    {"out_of_range", 400},
    {"unimplemented", 501},
    {"internal", 500},
    {"unavailable", 503},
    {"data_loss", 500},
    {"unauthenticated", 401},
};

const CodeRow& RowOf(int grpc_code) {
  const bool known = grpc_code >= 0 && grpc_code < static_cast<int>(std::size(kCodes));
  return kCodes[known ? grpc_code : 2];
}

// The detail as JSON, for people; null when its type is not known here.
json DebugOf(const std::string& type, const std::string& value) {
  const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  if (descriptor == nullptr) return nullptr;
  const std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  std::string text;
  if (!message->ParseFromString(value) || !google::protobuf::util::MessageToJsonString(*message, &text).ok())
    return nullptr;
  const json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return parsed.is_discarded() ? json() : parsed;
}

json ErrorOf(const grpc::Status& status) {
  json error = {{"code", std::string(ConnectCode(status.error_code()))}};
  if (!status.error_message().empty()) error["message"] = status.error_message();
  google::rpc::Status rich;
  if (status.error_details().empty() || !rich.ParseFromString(status.error_details())) return error;
  json details = json::array();
  for (const auto& any : rich.details()) {
    const std::string type = any.type_url().substr(any.type_url().rfind('/') + 1);
    json detail = {{"type", type}, {"value", UnpaddedBase64(any.value())}};
    if (json debug = DebugOf(type, any.value()); !debug.is_null()) detail["debug"] = std::move(debug);
    details.push_back(std::move(detail));
  }
  if (!details.empty()) error["details"] = std::move(details);
  return error;
}

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string_view ConnectCode(int grpc_code) {
  return RowOf(grpc_code).name;
}

int HttpStatusOf(int grpc_code) {
  return RowOf(grpc_code).http_status;
}

std::string ErrorJson(const grpc::Status& status) {
  return Dump(ErrorOf(status));
}

std::string EndStreamJson(const grpc::Status& status, const Headers& trailers) {
  json end = json::object();
  if (!status.ok()) end["error"] = ErrorOf(status);
  for (const auto& [name, value] : trailers) end["metadata"][name].push_back(value);
  return Dump(end);
}

}  // namespace retort::services::gateway
