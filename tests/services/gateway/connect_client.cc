#include "tests/services/gateway/connect_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <mutex>
#include <nlohmann/json.hpp>

#include "services/gateway/envelope.h"

namespace retort::services::gateway {
namespace {

std::string GrpcName(std::string code) {
  if (code == "canceled") return "CANCELLED";
  std::transform(code.begin(), code.end(), code.begin(), [](unsigned char c) { return std::toupper(c); });
  return code;
}

std::string CodeIn(const nlohmann::json& error) {
  return error.is_object() && error.contains("code") ? GrpcName(error["code"]) : "NO_CODE";
}

// The code in the last message of a stream.
std::string EndOf(std::string_view body) {
  while (body.size() >= kEnvelopeHeadBytes) {
    size_t length = 0;
    for (size_t i = 1; i < kEnvelopeHeadBytes; ++i) length = length << 8 | static_cast<uint8_t>(body[i]);
    const std::string_view message = body.substr(kEnvelopeHeadBytes, length);
    if (body[0] == kEndStreamFlag) {
      const auto end = nlohmann::json::parse(message, nullptr, false);
      return end.is_object() && end.contains("error")                      ? CodeIn(end["error"])
             : end == nlohmann::json::object() || end.contains("metadata") ? "OK"
                                                                           : "NO_CODE";
    }
    body.remove_prefix(kEnvelopeHeadBytes + message.size());
  }
  return "NO_END";
}

size_t Collect(char* bytes, size_t one, size_t count, void* to) {
  static_cast<std::string*>(to)->append(bytes, one * count);
  return one * count;
}

}  // namespace

struct ConnectClient::Impl {
  CURL* curl = nullptr;
  std::string address;
  TlsPaths tls;
};

ConnectClient::ConnectClient(const std::string& address, const TlsPaths& tls)
    : impl_(std::make_unique<Impl>()) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  impl_->curl = curl_easy_init();
  impl_->address = address;
  impl_->tls = tls;
}

ConnectClient::ConnectClient(ConnectClient&&) noexcept = default;

ConnectClient::~ConnectClient() {
  if (impl_ != nullptr) curl_easy_cleanup(impl_->curl);
}

std::string ConnectClient::Call(const google::protobuf::MethodDescriptor& method,
                                const std::string& request) {
  const bool stream = method.server_streaming();
  const std::string body = stream ? MakeEnvelope(0, request) : request;
  const std::string url =
      "https://" + impl_->address + "/" + method.service()->full_name() + "/" + method.name();
  std::string answer;
  CURL* const curl = impl_->curl;
  curl_easy_reset(curl);  // keeps the connection
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 20'000L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_CAINFO, impl_->tls.authorities.c_str());
  if (!impl_->tls.certificate.empty()) {
    curl_easy_setopt(curl, CURLOPT_SSLCERT, impl_->tls.certificate.c_str());
    curl_easy_setopt(curl, CURLOPT_SSLKEY, impl_->tls.private_key.c_str());
  }
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Collect);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  curl_slist* headers = curl_slist_append(
      nullptr, stream ? "Content-Type: application/connect+proto" : "Content-Type: application/proto");
  headers = curl_slist_append(headers, "Connect-Protocol-Version: 1");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  const CURLcode performed = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_slist_free_all(headers);
  if (performed != CURLE_OK) return "NO_CONNECTION";
  if (stream) return EndOf(answer);
  return status == 200 ? "OK" : CodeIn(nlohmann::json::parse(answer, nullptr, false));
}

}  // namespace retort::services::gateway
