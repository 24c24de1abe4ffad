#include "teacher/http_client.h"

#include <curl/curl.h>
#include <string.h>

#include <algorithm>
#include <cctype>
#include <mutex>

namespace retort::teacher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kHeaderBytesMax = 64 << 10;
constexpr int kPollMs = 50;                 // how late a cancellation may be noticed
constexpr size_t kIdleConnectionsMax = 64;  // as many as calls that one endpoint is likely to see at once

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() &&
         (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' || text.back() == '\n')) {
    text.remove_suffix(1);
  }
  return text;
}

// libcurl wants this once per process, before any thread uses it.
void InitialiseOnce() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

// A header list that is overwritten before it is freed, because one of its lines holds the key.
class HeaderList {
 public:
  HeaderList() = default;
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  ~HeaderList() {
    for (curl_slist* line = list_; line != nullptr; line = line->next)
      explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(list_);
  }
  void Add(std::string_view name, std::string_view value_prefix, std::string_view value) {
    std::string line;
    line.reserve(name.size() + 2 + value_prefix.size() +
                 value.size());  // no copy of the key in a smaller buffer
    line.append(name)
        .append(value.empty() && value_prefix.empty() ? ":" : ": ")
        .append(value_prefix)
        .append(value);
    list_ = curl_slist_append(list_, line.c_str());
    explicit_bzero(line.data(), line.size());
  }
  const curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

// Collects one response; the callbacks refuse what is over a bound by returning less than they were given.
struct Sink {
  HttpResponse response;
  size_t body_bytes_max = 0;
  size_t header_bytes = 0;
  bool headers_complete = false;  // libcurl takes a connection that closes before that for an empty answer
  bool too_large = false;
};

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& sink = *static_cast<Sink*>(user);
  if (size > sink.body_bytes_max - sink.response.body.size()) {
    sink.too_large = true;
    return 0;
  }
  sink.response.body.append(data, size);
  return size;
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto& sink = *static_cast<Sink*>(user);
  sink.header_bytes += size;
  if (sink.header_bytes > kHeaderBytesMax) {
    sink.too_large = true;
    return 0;
  }
  const std::string_view line(data, size);
  if (line.substr(0, 5) == "HTTP/") {  // an interim response (1xx) may have come before
    sink.response.headers.clear();
    sink.headers_complete = false;
  }
  if (line == "\r\n" || line == "\n") sink.headers_complete = true;
  if (const size_t colon = line.find(':'); colon != std::string_view::npos && colon > 0) {
    sink.response.headers.push_back(
        {Lower(line.substr(0, colon)), std::string(Trim(line.substr(colon + 1)))});
  }
  return size;
}

bool HasLineBreak(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

// The one place where libcurl's codes become ours.
absl::Status TransportError(CURLcode code, const char* detail, const Sink& sink, const std::string& origin) {
  if (sink.too_large) return absl::UnknownError(origin + ": the answer is larger than its bound");
  const std::string message = origin + ": " + (detail[0] != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(message);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return absl::FailedPreconditionError(message);
    case CURLE_URL_MALFORMAT:
      return absl::InvalidArgumentError(message);
    case CURLE_UNSUPPORTED_PROTOCOL:  // the URL's is supported, so it is the answer that is not HTTP/1 or
                                      // newer
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_FILESIZE_EXCEEDED:
      return absl::UnknownError(message);
    default:
      return absl::UnavailableError(message);
  }
}

}  // namespace

// One libcurl transfer at a time, with the connection that it leaves open for the next one. The multi
// interface, because it lets the calling thread look at the limits while it waits.
class HttpClient::Connection {
 public:
  Connection() : multi_(curl_multi_init()), easy_(curl_easy_init()) {}
  ~Connection() {
    curl_easy_cleanup(easy_);
    curl_multi_cleanup(multi_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  absl::StatusOr<HttpResponse> Post(const HttpClientOptions& options, const HttpRequest& request,
                                    const CallLimits& limits, milliseconds timeout,
                                    const std::string& origin);

 private:
  CURLcode Run(const CallLimits& limits, bool* cancelled);

  CURLM* multi_;
  CURL* easy_;
};

class HttpClient::Pool {
 public:
  std::unique_ptr<Connection> Take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        auto connection = std::move(idle_.back());
        idle_.pop_back();
        return connection;
      }
    }
    return std::make_unique<Connection>();
  }
  void Return(std::unique_ptr<Connection> connection) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kIdleConnectionsMax) idle_.push_back(std::move(connection));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;  // guarded by mutex_
};

absl::StatusOr<HttpResponse> HttpClient::Connection::Post(const HttpClientOptions& options,
                                                          const HttpRequest& request,
                                                          const CallLimits& limits, milliseconds timeout,
                                                          const std::string& origin) {
  Sink sink;
  sink.body_bytes_max = options.response_bytes_max;
  HeaderList headers;
  headers.Add("Content-Type", "", "application/json");
  headers.Add("Accept", "", "application/json");
  headers.Add("Expect", "",
              "");  // libcurl then sends none: 100-continue costs a round trip, small servers ignore it
  if (!request.bearer.empty()) headers.Add("Authorization", "Bearer ", request.bearer);
  for (const HttpHeader& header : request.headers) headers.Add(header.name, "", header.value);
  char detail[CURL_ERROR_SIZE] = {};

  curl_easy_reset(easy_);  // keeps open connections
  curl_easy_setopt(easy_, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy_, CURLOPT_PROXY, options.proxy.c_str());  // empty also keeps the environment's out
  curl_easy_setopt(easy_, CURLOPT_POST, 1L);
  curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, request.body.data());
  curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, "retort");
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy_, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options.authorities_file.empty()) {
    curl_easy_setopt(easy_, CURLOPT_CAINFO, options.authorities_file.c_str());
    curl_easy_setopt(easy_, CURLOPT_CAPATH, nullptr);
  }
  curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(timeout.count()));
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);  // threads
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, &sink);

  bool cancelled = false;
  const CURLcode code = Run(limits, &cancelled);
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_reset(easy_);  // nothing may point into this frame any more
  if (cancelled) return absl::CancelledError(origin + ": cancelled while waiting for the answer");
  if (code != CURLE_OK) return TransportError(code, detail, sink, origin);
  if (!sink.headers_complete)
    return absl::UnavailableError(origin + ": the connection closed within the headers");
  sink.response.status = static_cast<int32_t>(status);
  return std::move(sink.response);
}

CURLcode HttpClient::Connection::Run(const CallLimits& limits, bool* cancelled) {
  CURLcode result = CURLE_FAILED_INIT;
  if (curl_multi_add_handle(multi_, easy_) != CURLM_OK) return result;
  int running = 1;
  while (running > 0) {
    if (limits.cancelled && limits.cancelled()) {
      *cancelled = true;
      break;
    }
    if (curl_multi_perform(multi_, &running) != CURLM_OK) break;
    if (running > 0 && curl_multi_poll(multi_, nullptr, 0, kPollMs, nullptr) != CURLM_OK) break;
  }
  int queued = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &queued)) {
    if (message->msg == CURLMSG_DONE) result = message->data.result;
  }
  curl_multi_remove_handle(multi_, easy_);
  return result;
}

std::optional<std::string_view> HttpResponse::Header(std::string_view name) const {
  for (const HttpHeader& header : headers) {
    if (header.name == name) return header.value;
  }
  return std::nullopt;
}

HttpClient::HttpClient(HttpClientOptions options)
    : options_(std::move(options)), pool_(std::make_unique<Pool>()) {
  InitialiseOnce();
}

HttpClient::~HttpClient() = default;

absl::StatusOr<HttpResponse> HttpClient::Post(const HttpRequest& request, const CallLimits& limits) {
  auto url = ParseEndpointUrl(request.url);
  if (!url.ok()) return url.status();
  const std::string origin = url->Origin();
  if (HasLineBreak(request.bearer))
    return absl::InvalidArgumentError(origin + ": a header holds a line break");
  for (const HttpHeader& header : request.headers) {
    if (header.name.empty() || HasLineBreak(header.name) || HasLineBreak(header.value)) {
      return absl::InvalidArgumentError(origin + ": a header holds a line break");
    }
  }
  milliseconds timeout = options_.timeout;
  if (limits.deadline != steady_clock::time_point::max()) {
    const auto left = std::chrono::floor<milliseconds>(limits.deadline - steady_clock::now());
    if (left <= milliseconds(0)) return absl::DeadlineExceededError(origin + ": no time is left to ask");
    timeout = std::min(timeout, left);
  }
  auto connection = pool_->Take();
  auto response = connection->Post(options_, request, limits, timeout, origin);
  if (response.ok()) pool_->Return(std::move(connection));  // after a failure, start afresh
  return response;
}

std::string EndpointUrl::Origin() const {
  return scheme + "://" + host + (port.empty() ? "" : ":" + port);
}

bool EndpointUrl::IsLoopback() const {
  if (host == "localhost" || host == "[::1]") return true;
  const bool numeric = host.find_first_not_of("0123456789.") == std::string::npos;  // not 127.example.org
  return numeric && host.substr(0, 4) == "127.";
}

absl::StatusOr<EndpointUrl> ParseEndpointUrl(std::string_view text) {
  const auto wrong = [](std::string_view why) {
    return absl::InvalidArgumentError("endpoint URL: " + std::string(why) +
                                      "; wanted http[s]://host[:port][/path]");
  };
  for (const char c : text) {
    if (c < 0x21 || c > 0x7E || c == '\\') return wrong("a character that URLs do not have");
  }
  EndpointUrl url;
  const size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return wrong("no scheme");
  url.scheme = Lower(text.substr(0, scheme_end));
  if (url.scheme != "http" && url.scheme != "https") return wrong("another scheme");
  text.remove_prefix(scheme_end + 3);
  if (text.find_first_of("?#") != std::string_view::npos) return wrong("a query or fragment");
  const size_t authority_end = std::min(text.find('/'), text.size());
  std::string_view authority = text.substr(0, authority_end);
  url.path = std::string(text.substr(authority_end));
  while (!url.path.empty() && url.path.back() == '/') url.path.pop_back();
  if (authority.find('@') != std::string_view::npos) return wrong("credentials in the URL");
  const size_t bracket = authority.find(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos) {
    url.port = std::string(authority.substr(colon + 1));
    authority = authority.substr(0, colon);
    if (url.port.empty() || url.port.size() > 5 ||
        url.port.find_first_not_of("0123456789") != std::string::npos || std::stoi(url.port) == 0 ||
        std::stoi(url.port) > 65535) {
      return wrong("a port that is not 1 to 65535");
    }
  }
  if (authority.empty()) return wrong("no host");
  const bool bracketed = authority.front() == '[';
  if (bracketed != (authority.back() == ']') ||
      authority.find_first_not_of(
          bracketed ? "[]0123456789abcdefABCDEF:."
                    : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") !=
          std::string_view::npos) {
    return wrong("a host that is neither a name nor an address");
  }
  url.host = Lower(authority);
  return url;
}

}  // namespace retort::teacher
