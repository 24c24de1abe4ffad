// Mutual TLS whose certificates are read again while a program runs.
#ifndef SERVICES_IDENTITY_TLS_CREDENTIALS_H_
#define SERVICES_IDENTITY_TLS_CREDENTIALS_H_

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "services/edge/tls_paths.h"

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace retort::services {

// How soon a new pair of files is used for new connections, at the latest. While certificate and key on disk
// do not belong together the old pair stays.
inline constexpr std::chrono::seconds kCertificateRefresh{20};

// Both check the files first, as CheckTlsFiles does, with its errors. `refresh` is at least a second. A
// client's certificate is required and verified by a server, a server's name by a client. TLS 1.2 or newer.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerTls(
    const TlsPaths& tls, std::chrono::seconds refresh = kCertificateRefresh);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ClientTls(
    const TlsPaths& tls, std::chrono::seconds refresh = kCertificateRefresh);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_TLS_CREDENTIALS_H_
