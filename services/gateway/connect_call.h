// A call of the Connect protocol, read from the head of an HTTP request. Every byte here is the client's;
// nothing is sent or called. Pure functions over immutable values.
//
//   const auto read = ReadCall(head, table);
//   if (const auto* refusal = std::get_if<Refusal>(&read)) ...           // answer it
//   const CallPlan& plan = std::get<CallPlan>(read);
//   auto request = RequestOf(plan, body, bytes_max);                     // the bytes that gRPC gets
#ifndef SERVICES_GATEWAY_CONNECT_CALL_H_
#define SERVICES_GATEWAY_CONNECT_CALL_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "services/gateway/http_message.h"
#include "services/gateway/message_codec.h"
#include "services/gateway/metadata.h"
#include "services/gateway/method_table.h"

namespace retort::services::gateway {

struct CallPlan {
  const google::protobuf::MethodDescriptor* method = nullptr;
  std::string path;  // /package.Service/Method
  Codec codec = Codec::kJson;
  bool streaming = false;  // enveloped, both ways
  bool get = false;
  bool request_gzip = false;   // as the request declares its encoding
  bool response_gzip = false;  // the client takes it
  std::string get_message;     // of a GET: percent-decoded, then base64-decoded when it says so
  std::optional<std::chrono::milliseconds> timeout;
  Metadata metadata;
};

// Why there is no call. A request that is not of this protocol gets an HTTP status and a line of text; one
// that is gets an error of the protocol in the form that its content type asks for.
struct Refusal {
  int http_status = 0;  // with `text` and `headers`; 0 means `error`
  std::string text;
  Headers headers;
  absl::Status error;
  bool streaming = false;  // `error` ends a stream of this codec; otherwise it is a unary error
  Codec codec = Codec::kJson;
};

// Statuses of HTTP: 404 no such method of the table, 405 neither POST nor a GET that the method takes, 415 a
// content type or an `encoding` that the method has not, naming those it has. Errors of the protocol:
// InvalidArgument for a header or parameter that is malformed, Unimplemented for a compression other than
// gzip and identity, and for methods that stream requests.
std::variant<CallPlan, Refusal> ReadCall(const RequestHead& head, const MethodTable& table);

// The request as gRPC gets it. `body` is empty for a GET. The errors of OnlyEnvelope, Gunzip and
// RequestBytes; Internal for a compressed message in a stream that declares no compression; ResourceExhausted
// above `bytes_max`.
absl::StatusOr<std::string> RequestOf(const CallPlan& plan, std::string_view body, size_t bytes_max);

// True when the content type is one of streams, so that even a refusal is the end of a stream.
bool AsksForStream(const RequestHead& head);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_CONNECT_CALL_H_
