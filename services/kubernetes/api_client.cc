#include "services/kubernetes/api_client.h"

#include <errno.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "services/kubernetes/api_error.h"

namespace retort::kubernetes {
namespace {

constexpr size_t kLineFileBytesMax = 64 << 10;
constexpr std::chrono::milliseconds kTurn(100);

}  // namespace

absl::StatusOr<std::string> ReadLineFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::FailedPreconditionError(path + ": " + strerror(errno));
  std::string text(kLineFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  if (text.empty() || text.size() > kLineFileBytesMax) {
    return absl::FailedPreconditionError(path + ": " + std::to_string(text.size()) + " bytes, wanted 1 to " +
                                         std::to_string(kLineFileBytesMax));
  }
  for (const char c : text) {
    if (c < 0x21 || c > 0x7E) {
      return absl::FailedPreconditionError(path + ": wanted one line of visible ASCII");
    }
  }
  return text;
}

std::string UrlEscape(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
        (c != '\0' && strchr("-._~", c) != nullptr)) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

absl::StatusOr<ApiServer> ServerOfThisPod(const Environment& environment, const std::string& mounted) {
  const char* host = environment("KUBERNETES_SERVICE_HOST");
  const char* port = environment("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || *host == '\0' || port == nullptr || *port == '\0') {
    return absl::FailedPreconditionError(
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod of a cluster; "
        "wanted "
        "training_launcher.kubernetes.api");
  }
  const std::string name = host;
  const bool v6 = name.find(':') != std::string::npos;
  ApiServer server;
  server.url = "https://" + (v6 ? "[" + name + "]" : name) + ":" + port;
  server.authorities_file = mounted + "/ca.crt";
  server.token_file = mounted + "/token";
  // A pod without its service account's token cannot do anything here: better known at the start.
  if (auto token = ReadLineFile(server.token_file); !token.ok()) return token.status();
  return server;
}

ApiClient::ApiClient(ApiServer server, Transfers& transfers)
    : server_(std::move(server)), transfers_(transfers) {}

absl::StatusOr<std::unique_ptr<Transfers::Transfer>> ApiClient::Open(const std::string& path,
                                                                     const Query& query, HttpCall call) {
  auto token = ReadLineFile(server_.token_file);
  if (!token.ok()) return token.status();
  call.url = server_.url + path;
  char separator = '?';
  for (const auto& [name, value] : query) {
    call.url += separator + UrlEscape(name) + "=" + UrlEscape(value);
    separator = '&';
  }
  call.authorities_file = server_.authorities_file;
  call.bearer = *token;
  explicit_bzero(token->data(), token->size());
  return transfers_.Begin(std::move(call));
}

absl::StatusOr<std::string> ApiClient::Call(std::string_view did, const std::string& method,
                                            const std::string& path, const Query& query, std::string body,
                                            const std::function<bool()>& give_up) {
  HttpCall call;
  call.method = method;
  call.body = std::move(body);
  auto transfer = Open(path, query, std::move(call));
  if (!transfer.ok()) return transfer.status();
  while (!(*transfer)->done()) {
    if (give_up && give_up()) return absl::CancelledError("stopped while waiting for the API server");
    transfers_.Poll(kTurn);
  }
  if (!(*transfer)->outcome().ok()) return (*transfer)->outcome();
  if ((*transfer)->status() < 200 || (*transfer)->status() >= 300) {
    return ErrorOf(did, (*transfer)->status(), (*transfer)->body(), (*transfer)->retry_after());
  }
  return (*transfer)->body();
}

}  // namespace retort::kubernetes
