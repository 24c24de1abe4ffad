#include "services/kubernetes/http_transfer.h"

#include <curl/curl.h>
#include <strings.h>

#include <cstring>
#include <mutex>

namespace retort::kubernetes {
namespace {

constexpr size_t kHeaderBytesMax = 64 << 10;
constexpr long kConnectTimeoutMs = 10'000;
constexpr long kKeepAliveSeconds = 30;  // a silent stream over a dead connection ends within minutes
constexpr int kRetryAfterMax = 3600;

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && strchr(" \t", text.front()) != nullptr) text.remove_prefix(1);
  while (!text.empty() && strchr(" \t\r\n", text.back()) != nullptr) text.remove_suffix(1);
  return text;
}

bool HasLineBreak(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

// https://host:port of a URL, for messages.
std::string OriginOf(const std::string& url) {
  const size_t path = url.find('/', std::strlen("https://"));
  return url.substr(0, path);
}

void Wipe(std::string& secret) {
  explicit_bzero(secret.data(), secret.size());
  secret.clear();
}

}  // namespace

class Transfers::Running final : public Transfers::Transfer {
 public:
  Running(CURLM* multi, HttpCall call);
  ~Running() override;

  bool done() const override { return done_; }
  const absl::Status& outcome() const override { return outcome_; }
  int status() const override { return status_; }
  std::optional<std::chrono::seconds> retry_after() const override { return retry_after_; }
  const std::string& body() const override { return body_; }

  void Finish(CURLcode code);

 private:
  static size_t OnBody(char* data, size_t, size_t size, void* self);
  static size_t OnHeader(char* data, size_t, size_t size, void* self);
  bool TakeBody(std::string_view piece);
  bool TakeHeader(std::string_view line);
  void Refuse(absl::Status why) {
    outcome_ = std::move(why);
    done_ = true;
  }

  CURLM* const multi_;
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  HttpCall call_;
  char detail_[CURL_ERROR_SIZE] = {};
  bool done_ = false, too_large_ = false, headers_complete_ = false;
  size_t header_bytes_ = 0;
  int status_ = 0;
  std::optional<std::chrono::seconds> retry_after_;
  std::string body_;
  absl::Status outcome_;
};

Transfers::Running::Running(CURLM* multi, HttpCall call) : multi_(multi), call_(std::move(call)) {
  if (call_.url.rfind("https://", 0) != 0) {
    Refuse(absl::InvalidArgumentError("URL: another scheme than https://"));
    return;
  }
  if (HasLineBreak(call_.bearer) || HasLineBreak(call_.url)) {
    Refuse(absl::InvalidArgumentError(OriginOf(call_.url) + ": a line break in the URL or the bearer"));
    return;
  }
  easy_ = curl_easy_init();
  std::string authorization = "Authorization: Bearer " + call_.bearer;
  Wipe(call_.bearer);
  headers_ = curl_slist_append(headers_, authorization.c_str());
  Wipe(authorization);
  headers_ = curl_slist_append(headers_, "Accept: application/json");
  headers_ = curl_slist_append(headers_, "Expect:");  // no 100-continue: it costs a round trip
  if (!call_.body.empty()) headers_ = curl_slist_append(headers_, "Content-Type: application/json");

  curl_easy_setopt(easy_, CURLOPT_URL, call_.url.c_str());
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy_, CURLOPT_PROXY, "");
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  if (!call_.body.empty()) {
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, call_.body.data());
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call_.body.size()));
  }
  curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, call_.method.c_str());
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers_);
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, "retort");
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy_, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy_, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(easy_, CURLOPT_CAINFO, call_.authorities_file.c_str());
  curl_easy_setopt(easy_, CURLOPT_CAPATH, nullptr);
  curl_easy_setopt(easy_, CURLOPT_CA_CACHE_TIMEOUT, 0L);  // the file may be replaced
  curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(call_.timeout.count()));
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  if (call_.silence.count() > 0) {
    curl_easy_setopt(easy_, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy_, CURLOPT_LOW_SPEED_TIME, static_cast<long>(call_.silence.count()));
  }
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPIDLE, kKeepAliveSeconds);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPINTVL, kKeepAliveSeconds);
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);  // threads
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, detail_);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
  if (curl_multi_add_handle(multi_, easy_) != CURLM_OK) {
    Refuse(absl::UnavailableError(OriginOf(call_.url) + ": libcurl cannot begin a transfer"));
  }
}

Transfers::Running::~Running() {
  if (easy_ != nullptr) {
    curl_multi_remove_handle(multi_, easy_);
    curl_easy_cleanup(easy_);
  }
  for (curl_slist* line = headers_; line != nullptr; line = line->next) {
    explicit_bzero(line->data, strlen(line->data));  // one of them holds the token
  }
  curl_slist_free_all(headers_);
}

size_t Transfers::Running::OnBody(char* data, size_t, size_t size, void* self) {
  return static_cast<Running*>(self)->TakeBody({data, size}) ? size : 0;
}

size_t Transfers::Running::OnHeader(char* data, size_t, size_t size, void* self) {
  return static_cast<Running*>(self)->TakeHeader({data, size}) ? size : 0;
}

bool Transfers::Running::TakeBody(std::string_view piece) {
  if (call_.on_data && status_ >= 200 && status_ < 300) {
    call_.on_data(piece);
    return true;
  }
  if (piece.size() > call_.body_bytes_max - body_.size()) {
    too_large_ = true;
    return false;
  }
  body_.append(piece);
  return true;
}

bool Transfers::Running::TakeHeader(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > kHeaderBytesMax) {
    too_large_ = true;
    return false;
  }
  if (line.substr(0, 5) == "HTTP/") {  // an interim answer (1xx) may have come before
    retry_after_.reset();
    headers_complete_ = false;
  }
  if (line == "\r\n" || line == "\n") {
    headers_complete_ = true;
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    status_ = static_cast<int>(status);
  }
  constexpr std::string_view kName = "retry-after:";
  if (line.size() > kName.size() && strncasecmp(line.data(), kName.data(), kName.size()) == 0) {
    const std::string_view value = Trimmed(line.substr(kName.size()));
    if (!value.empty() && value.size() <= 4 &&
        value.find_first_not_of("0123456789") == std::string_view::npos) {
      const int seconds = std::stoi(std::string(value));
      if (seconds <= kRetryAfterMax) retry_after_ = std::chrono::seconds(seconds);
    }
  }
  return true;
}

// The one place where libcurl's codes become ours.
void Transfers::Running::Finish(CURLcode code) {
  done_ = true;
  const std::string origin = OriginOf(call_.url);
  if (too_large_) {
    outcome_ = absl::ResourceExhaustedError(origin + ": the answer is larger than its bound");
    return;
  }
  if (code == CURLE_OK && headers_complete_) return;
  const std::string message = origin + ": " +
                              (code == CURLE_OK     ? "the connection closed within the headers"
                               : detail_[0] != '\0' ? detail_
                                                    : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      outcome_ = absl::DeadlineExceededError(message);
      return;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      outcome_ = absl::FailedPreconditionError(message);
      return;
    case CURLE_URL_MALFORMAT:
      outcome_ = absl::InvalidArgumentError(message);
      return;
    case CURLE_UNSUPPORTED_PROTOCOL:  // the URL's is supported, so it is the answer that is not HTTP/1
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      outcome_ = absl::UnknownError(message);
      return;
    default:
      outcome_ = absl::UnavailableError(message);
  }
}

Transfers::Transfers() {
  static std::once_flag once;  // libcurl wants this once per process
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  multi_ = curl_multi_init();
}

Transfers::~Transfers() {
  curl_multi_cleanup(multi_);
}

std::unique_ptr<Transfers::Transfer> Transfers::Begin(HttpCall call) {
  return std::make_unique<Running>(multi_, std::move(call));
}

void Transfers::Poll(std::chrono::milliseconds span) {
  int running = 0;
  curl_multi_perform(multi_, &running);
  // The wait comes between two rounds, so that a caller that has just begun something gets its bytes at once.
  if (curl_multi_poll(multi_, nullptr, 0, static_cast<int>(span.count()), nullptr) == CURLM_OK) {
    curl_multi_perform(multi_, &running);
  }
  int queued = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &queued)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* self = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &self);
    reinterpret_cast<Running*>(self)->Finish(code);
  }
}

}  // namespace retort::kubernetes
