// HTTP transfers that one thread drives together: short calls, and answers that go on for hours.
//
//   Transfers transfers;
//   auto watch = transfers.Begin({.url = ..., .on_data = [&](std::string_view piece) { ... }});
//   while (!watch->done()) transfers.Poll(std::chrono::milliseconds(100));
//
// Everything is bounded: connecting, the headers, the body, the time without a byte. Certificates are
// verified against one file of authorities, which is read again for each connection, so it may be replaced;
// there is no way to switch that off. No redirects, no proxies, HTTP/1.1.
//
// A Transfers and its transfers belong to one thread, and it outlives them. Callbacks are called within Poll
// and must not begin or destroy transfers.
#ifndef SERVICES_KUBERNETES_HTTP_TRANSFER_H_
#define SERVICES_KUBERNETES_HTTP_TRANSFER_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace retort::kubernetes {

struct HttpCall {
  std::string method = "GET";
  std::string url;               // https://
  std::string authorities_file;  // PEM
  std::string bearer;            // sent as "Authorization: Bearer ..."; overwritten once it is handed over
  std::string body;              // JSON; sent when it is not empty
  std::chrono::milliseconds timeout{30'000};  // from connecting to the last byte; 0: none
  std::chrono::seconds silence{0};            // longest time without a byte; 0: none
  size_t body_bytes_max = 16 << 20;
  // Gets the pieces of a body with a 2xx status; the body of every other answer is kept. Without it every
  // body is kept. body_bytes_max holds for what is kept.
  std::function<void(std::string_view piece)> on_data;
};

class Transfers {
 public:
  class Transfer {
   public:
    virtual ~Transfer() = default;
    // True when nothing more will come.
    virtual bool done() const = 0;
    // Once done. OK: the answer is whole, whatever its status. Unavailable: cannot resolve or connect, or the
    // connection broke. DeadlineExceeded: a time limit passed. FailedPrecondition: the server's certificate
    // is not trusted, or the authorities cannot be read. ResourceExhausted: the answer is over a bound.
    // Unknown: it is not HTTP. InvalidArgument: the URL or the bearer cannot be used. Messages name the host
    // alone.
    virtual const absl::Status& outcome() const = 0;
    // 0 until the headers have come.
    virtual int status() const = 0;
    // Of the Retry-After header, when it is a number of seconds from 0 to 3600.
    virtual std::optional<std::chrono::seconds> retry_after() const = 0;
    virtual const std::string& body() const = 0;
  };

  Transfers();
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  // Begins a transfer; destroying it ends it at once.
  std::unique_ptr<Transfer> Begin(HttpCall call);

  // Moves bytes for at most `span`; returns earlier when something happened.
  void Poll(std::chrono::milliseconds span);

 private:
  class Running;
  void* multi_;  // CURLM
};

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_HTTP_TRANSFER_H_
