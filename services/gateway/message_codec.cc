#include "services/gateway/message_codec.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <memory>

#include "proto/utf8.h"

namespace retort::services::gateway {
namespace {

constexpr size_t kPlaceBytesMax = 256;

std::unique_ptr<google::protobuf::Message> NewMessage(const google::protobuf::Descriptor& type) {
  return std::unique_ptr<google::protobuf::Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

// The parser says "(type) place: what is wrong" and may go on with the value and the lines around it, which
// may be a prompt: what is handed on ends before them.
std::string PlaceIn(std::string_view message) {
  message = message.substr(0, message.find('\n'));
  for (const std::string_view value :
       {std::string_view("invalid value"), std::string_view("Illegal value")}) {
    if (const size_t at = message.find(value); at != std::string_view::npos) {
      message = message.substr(0, at + value.size());
    }
  }
  message = message.substr(0, kPlaceBytesMax);
  while (!message.empty() && !IsUtf8(message)) message.remove_suffix(1);
  return std::string(message);
}

}  // namespace

absl::StatusOr<std::string> RequestBytes(const google::protobuf::Descriptor& type, Codec codec,
                                         std::string_view sent) {
  const auto message = NewMessage(type);
  if (codec == Codec::kProto) {
    if (!message->ParseFromArray(sent.data(), static_cast<int>(sent.size())))
      return absl::InvalidArgumentError("body: no message of type " + type.full_name());
    return std::string(sent);
  }
  if (sent.empty()) return absl::InvalidArgumentError("body: saw nothing, wanted a JSON object");
  if (!IsUtf8(sent))
    return absl::InvalidArgumentError("body: saw bytes that are not UTF-8, wanted a JSON object");
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(sent.data(), sent.size()), message.get(), options);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        "body: no JSON of " + type.full_name() + ": " +
        PlaceIn(std::string_view(parsed.message().data(), static_cast<size_t>(parsed.message().size()))));
  }
  return message->SerializeAsString();
}

absl::StatusOr<std::string> ResponseBody(const google::protobuf::Descriptor& type, Codec codec,
                                         std::string bytes) {
  if (codec == Codec::kProto) return bytes;
  const auto message = NewMessage(type);
  std::string json;
  if (!message->ParseFromString(bytes) || !google::protobuf::util::MessageToJsonString(*message, &json).ok())
    return absl::InternalError("the service answered with something that is no " + type.full_name());
  return json;
}

}  // namespace retort::services::gateway
