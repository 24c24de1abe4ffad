#include "services/gateway/connect_call.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "services/gateway/envelope.h"
#include "services/gateway/gzip.h"
#include "services/gateway/query.h"

namespace retort::services::gateway {
namespace {

using std::chrono::milliseconds;

constexpr char kUnaryTypes[] = "application/json, application/proto";
constexpr char kStreamTypes[] = "application/connect+json, application/connect+proto";
constexpr std::string_view kStreamPrefix = "application/connect+";
constexpr size_t kTimeoutDigitsMax = 10;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

std::string_view TrimmedWord(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "application/json" of "Application/JSON; charset=utf-8". Empty when the charset is another: JSON has but
// one.
std::string MediaType(std::string_view content_type) {
  const size_t semicolon = std::min(content_type.find(';'), content_type.size());
  const std::string parameters = Lower(content_type.substr(semicolon));
  if (const size_t at = parameters.find("charset="); at != std::string::npos) {
    const std::string charset = parameters.substr(at + 8);
    if (!charset.starts_with("utf-8") && !charset.starts_with("\"utf-8\"")) return "";
  }
  return Lower(TrimmedWord(content_type.substr(0, semicolon)));
}

std::optional<Codec> CodecOf(std::string_view name) {
  if (name == "json") return Codec::kJson;
  if (name == "proto") return Codec::kProto;
  return std::nullopt;
}

Refusal OfHttp(int status, std::string text, Headers headers = {}) {
  Refusal refusal;
  refusal.http_status = status;
  refusal.text = std::move(text);
  refusal.headers = std::move(headers);
  return refusal;
}

Refusal OfCall(const CallPlan& plan, absl::Status error) {
  Refusal refusal;
  refusal.error = std::move(error);
  refusal.streaming = plan.streaming;
  refusal.codec = plan.codec;
  return refusal;
}

// gzip, identity, or an error for another. Nothing is identity.
absl::StatusOr<bool> IsGzip(std::string_view coding, std::string_view where) {
  const std::string name = Lower(TrimmedWord(coding));
  if (name == "gzip") return true;
  if (name.empty() || name == "identity") return false;
  return absl::UnimplementedError(std::string(where) +
                                  ": saw a compression that is not known here, wanted gzip or identity");
}

// Whether the first coding of an ordered list that is known here is gzip. Weights are not read but for 0,
// which refuses.
bool PrefersGzip(std::string_view accepted) {
  for (size_t begin = 0; begin <= accepted.size();) {
    const size_t end = std::min(accepted.find(',', begin), accepted.size());
    const std::string_view item = accepted.substr(begin, end - begin);
    begin = end + 1;
    const size_t semicolon = std::min(item.find(';'), item.size());
    const std::string name = Lower(TrimmedWord(item.substr(0, semicolon)));
    if (name == "identity") return false;
    if (name != "gzip") continue;
    const std::string_view weight = TrimmedWord(item.substr(std::min(semicolon + 1, item.size())));
    return !(weight.starts_with("q=0") && weight.find_first_of("123456789") == std::string_view::npos);
  }
  return false;
}

absl::Status ReadTimeout(const Headers& headers, CallPlan& plan) {
  const size_t count = CountOf(headers, "connect-timeout-ms");
  if (count == 0) return absl::OkStatus();
  const std::string text(ValueOf(headers, "connect-timeout-ms"));
  if (count > 1 || text.empty() || text.size() > kTimeoutDigitsMax ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return absl::InvalidArgumentError("connect-timeout-ms: wanted milliseconds, of one to ten digits");
  }
  plan.timeout = milliseconds(std::stoll(text));
  return absl::OkStatus();
}

// What the headers of either protocol say the same way.
absl::Status ReadHeaders(const RequestHead& head, CallPlan& plan) {
  if (auto s = ReadTimeout(head.headers, plan); !s.ok()) return s;
  const std::string_view version = ValueOf(head.headers, "connect-protocol-version");
  if (CountOf(head.headers, "connect-protocol-version") > 0 && version != "1")
    return absl::InvalidArgumentError("connect-protocol-version: saw another version, wanted 1");
  auto metadata = ToMetadata(head.headers);
  if (!metadata.ok()) return metadata.status();
  plan.metadata = *std::move(metadata);
  return absl::OkStatus();
}

absl::Status ReadCompression(const RequestHead& head, const char* content, const char* accept,
                             CallPlan& plan) {
  auto gzip = IsGzip(JoinedValues(head.headers, content), content);
  if (!gzip.ok()) return gzip.status();
  plan.request_gzip = *gzip;
  plan.response_gzip =
      CountOf(head.headers, accept) == 0 ? *gzip : PrefersGzip(JoinedValues(head.headers, accept));
  return absl::OkStatus();
}

absl::Status ReadGet(const RequestHead& head, const std::map<std::string, std::string>& query,
                     CallPlan& plan) {
  if (auto s = ReadHeaders(head, plan); !s.ok()) return s;
  const auto value = [&query](const char* name) {
    const auto found = query.find(name);
    return found == query.end() ? std::string() : found->second;
  };
  if (query.contains("connect") && value("connect") != "v1")
    return absl::InvalidArgumentError("query: connect is another version, wanted v1");
  if (!query.contains("message"))
    return absl::InvalidArgumentError("query: wanted the parameter message, the request itself");
  auto gzip = IsGzip(value("compression"), "compression");
  if (!gzip.ok()) return gzip.status();
  plan.request_gzip = *gzip;
  plan.response_gzip = CountOf(head.headers, "accept-encoding") == 0
                           ? *gzip
                           : PrefersGzip(JoinedValues(head.headers, "accept-encoding"));
  plan.get_message = value("message");
  if (value("base64") == "1") {
    auto bytes = DecodeUrlBase64(plan.get_message);
    if (!bytes.ok()) return bytes.status();
    plan.get_message = *std::move(bytes);
  }
  return absl::OkStatus();
}

std::variant<CallPlan, Refusal> ReadGetCall(const RequestHead& head, CallPlan plan, std::string_view query) {
  plan.get = true;
  auto parameters = ParseQuery(query);
  if (!parameters.ok()) return OfCall(plan, parameters.status());
  const auto encoding = parameters->find("encoding");
  const auto codec = encoding == parameters->end() ? std::nullopt : CodecOf(encoding->second);
  if (!codec.has_value()) return OfHttp(415, "wanted the parameter encoding to be json or proto");
  plan.codec = *codec;
  if (auto s = ReadGet(head, *parameters, plan); !s.ok()) return OfCall(plan, s);
  return plan;
}

std::variant<CallPlan, Refusal> ReadPostCall(const RequestHead& head, CallPlan plan) {
  const bool stream_method = plan.method->client_streaming() || plan.method->server_streaming();
  const char* const types = stream_method ? kStreamTypes : kUnaryTypes;
  const std::string type = CountOf(head.headers, "content-type") == 1
                               ? MediaType(ValueOf(head.headers, "content-type"))
                               : std::string();
  plan.streaming = type.starts_with(kStreamPrefix);
  const std::string_view prefix = stream_method ? kStreamPrefix : "application/";
  const auto codec = type.starts_with(prefix) && plan.streaming == stream_method
                         ? CodecOf(std::string_view(type).substr(prefix.size()))
                         : std::nullopt;
  if (!codec.has_value()) {
    return OfHttp(415, std::string("wanted the content type ") + types, {{"accept-post", types}});
  }
  plan.codec = *codec;
  absl::Status read = ReadHeaders(head, plan);
  if (read.ok()) {
    read = plan.streaming ? ReadCompression(head, "connect-content-encoding", "connect-accept-encoding", plan)
                          : ReadCompression(head, "content-encoding", "accept-encoding", plan);
  }
  if (read.ok() && plan.streaming && !TrimmedWord(ValueOf(head.headers, "content-encoding")).empty() &&
      Lower(TrimmedWord(ValueOf(head.headers, "content-encoding"))) != "identity") {
    read = absl::UnimplementedError(
        "content-encoding: a stream is compressed message by message; wanted identity");
  }
  if (read.ok() && plan.method->client_streaming()) {
    read = absl::UnimplementedError(
        plan.path + " takes a stream of requests, which the gateway does not carry; use gRPC");
  }
  if (!read.ok()) return OfCall(plan, std::move(read));
  return plan;
}

}  // namespace

std::variant<CallPlan, Refusal> ReadCall(const RequestHead& head, const MethodTable& table) {
  const size_t question = std::min(head.target.find('?'), head.target.size());
  CallPlan plan;
  plan.path = head.target.substr(0, question);
  plan.method = table.Find(plan.path);
  if (plan.method == nullptr) return OfHttp(404, "no such method: wanted /package.Service/Method");
  const bool may_get = MayGet(*plan.method);
  if (head.method == "POST") return ReadPostCall(head, std::move(plan));
  if (head.method == "GET" && may_get) {
    return ReadGetCall(head, std::move(plan),
                       std::string_view(head.target).substr(std::min(question + 1, head.target.size())));
  }
  return OfHttp(405, may_get ? "wanted GET or POST" : "wanted POST",
                {{"allow", may_get ? "GET, POST" : "POST"}});
}

absl::StatusOr<std::string> RequestOf(const CallPlan& plan, std::string_view body, size_t bytes_max) {
  std::string_view message = plan.get ? std::string_view(plan.get_message) : body;
  bool compressed = plan.request_gzip;
  if (plan.streaming) {
    const auto envelope = OnlyEnvelope(body);
    if (!envelope.ok()) return envelope.status();
    message = envelope->message;
    compressed = (envelope->flags & kCompressedFlag) != 0;
    if (compressed && !plan.request_gzip)
      return absl::InternalError(
          "envelope: says that it is compressed, but connect-content-encoding names nothing");
  }
  if (message.size() > bytes_max) {
    return absl::ResourceExhaustedError("the message has " + std::to_string(message.size()) +
                                        " bytes, wanted at most " + std::to_string(bytes_max));
  }
  if (!compressed || message.empty()) return RequestBytes(*plan.method->input_type(), plan.codec, message);
  const auto plain = Gunzip(message, bytes_max);
  if (!plain.ok()) return plain.status();
  return RequestBytes(*plan.method->input_type(), plan.codec, *plain);
}

bool AsksForStream(const RequestHead& head) {
  return MediaType(ValueOf(head.headers, "content-type")).starts_with(kStreamPrefix);
}

}  // namespace retort::services::gateway
