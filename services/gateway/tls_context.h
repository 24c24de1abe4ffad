// The TLS settings of new connections, from the same files as the gRPC port, read again while the program
// runs.
#ifndef SERVICES_GATEWAY_TLS_CONTEXT_H_
#define SERVICES_GATEWAY_TLS_CONTEXT_H_

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "services/edge/tls_paths.h"

namespace retort::services::gateway {

using TlsContext = boost::asio::ssl::context;

// Thread-safe.
class TlsFiles {
 public:
  // The errors of CheckTlsFiles (services/identity/certificate.h).
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Open(const TlsPaths& paths);

  // What a new connection takes. TLS 1.2 or newer, a client certificate that the authorities signed is
  // required, HTTP/1.1 by ALPN, no resumption: every connection shows its certificate.
  std::shared_ptr<TlsContext> context() const;

  // Takes the files up when they have changed. While they do not belong together, or one cannot be used, the
  // old ones stay; the status says why, once for each change.
  absl::Status Refresh();

 private:
  explicit TlsFiles(TlsPaths paths) : paths_(std::move(paths)) {}

  const TlsPaths paths_;
  mutable std::mutex mutex_;
  std::shared_ptr<TlsContext> context_;  // guarded by mutex_; shared with the connections that began with it
  std::string used_, refused_;  // digests of what the context is made of, and of what could not be used
};

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_TLS_CONTEXT_H_
