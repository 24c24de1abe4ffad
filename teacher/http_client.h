// POST of a JSON body over HTTP(S), with everything bounded: time, size, redirects (none), proxies (none
// unless named).
//
// The client moves bytes and knows no wire format. It keeps idle connections for later calls. Certificates
// are verified against the authorities of the system, or of one file; there is no way to switch that off.
//
// Threads: Post may be called from many threads at once; each call in flight has its own connection.
#ifndef TEACHER_HTTP_CLIENT_H_
#define TEACHER_HTTP_CLIENT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "teacher/teacher.h"

namespace retort::teacher {

struct HttpClientOptions {
  std::chrono::milliseconds timeout{120'000};         // for one request, from connecting to the last byte
  std::chrono::milliseconds connect_timeout{10'000};  // for name resolution, connecting and TLS together
  size_t response_bytes_max = 16 << 20;
  std::string authorities_file;  // PEM; empty means those of the system
  std::string proxy;             // URL; empty means none, whatever the environment says
};

struct HttpHeader {
  std::string name, value;
};

struct HttpRequest {
  std::string url;  // http or https, absolute
  std::vector<HttpHeader> headers;
  std::string_view
      bearer;             // sent as "Authorization: Bearer ..." and kept nowhere; empty means no such header
  std::string_view body;  // sent as it is, with Content-Type: application/json
};

struct HttpResponse {
  int32_t status = 0;
  std::vector<HttpHeader>
      headers;       // of the final response, in order; names in lower case; at most 64 KiB in all
  std::string body;  // exact bytes

  // Value of the first header of that lower-case name.
  std::optional<std::string_view> Header(std::string_view name) const;
};

class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // One request, sent at most once. Any HTTP status is a response, not an error. Errors; messages name the
  // host and the transport's own words, and neither path, body nor header:
  //   InvalidArgument    the URL cannot be used, or a header holds a line break
  //   Unavailable        cannot resolve or connect, or the connection broke before the answer was whole
  //   DeadlineExceeded   options.timeout, options.connect_timeout or limits.deadline passed
  //   FailedPrecondition the endpoint's certificate is not trusted, or the authorities file cannot be read
  //   Unknown            the answer is larger than response_bytes_max, has more than 64 KiB of headers, or is
  //   not HTTP Cancelled          limits.cancelled said so
  absl::StatusOr<HttpResponse> Post(const HttpRequest& request, const CallLimits& limits);

 private:
  class Connection;
  class Pool;

  const HttpClientOptions options_;
  std::unique_ptr<Pool> pool_;
};

// An absolute http or https URL, taken apart just as far as a teacher needs it.
struct EndpointUrl {
  std::string scheme;  // http or https
  std::string host;    // lower case; an IPv6 address in brackets
  std::string port;    // digits; empty for the scheme's own
  std::string path;    // empty or begins with /; never ends with one

  // scheme://host[:port], as capture statements name an endpoint.
  std::string Origin() const;
  // True for localhost, 127.0.0.0/8 and [::1].
  bool IsLoopback() const;
};

// Takes `url` apart. InvalidArgument for another scheme, credentials in the URL, a query, a fragment, a bad
// port or any character outside visible ASCII; the message does not repeat the URL beyond its scheme, because
// it may hold a secret.
absl::StatusOr<EndpointUrl> ParseEndpointUrl(std::string_view url);

}  // namespace retort::teacher

#endif  // TEACHER_HTTP_CLIENT_H_
