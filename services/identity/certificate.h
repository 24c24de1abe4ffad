// What a service's own certificate says, and whether a process may start with it.
#ifndef SERVICES_IDENTITY_CERTIFICATE_H_
#define SERVICES_IDENTITY_CERTIFICATE_H_

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/edge/tls_paths.h"

struct x509_st;  // X509 of OpenSSL

namespace retort::services {

using SystemTime = std::chrono::system_clock::time_point;

// The first certificate of a PEM file: the one that is shown to peers.
struct CertificateFacts {
  SystemTime not_before;
  SystemTime not_after;
  std::vector<std::string> uris;  // of the alternative names, in their order
};

// NotFound or FailedPrecondition when the file cannot be read, InvalidArgument when it holds no certificate.
absl::StatusOr<CertificateFacts> ReadCertificate(const std::string& path);

// URIs of the alternative names of a certificate that is in memory, in their order.
std::vector<std::string> CertificateUris(x509_st* certificate);

// A certificate that ends sooner than this is warned about: in the log, by `retort doctor`, by the alert.
inline constexpr std::chrono::hours kExpiryWarning{24};

// "" or what to say about a certificate that has ended or soon will.
std::string ExpiryWarning(const std::string& path, const CertificateFacts& facts, SystemTime now);

// Whether a process may use these files: all are there, the private key is closed to others
// (ledger/private_file.h) and belongs to the certificate, and the certificate is valid at `now`. NotFound,
// InvalidArgument or FailedPrecondition; the message names the file and what to do.
absl::Status CheckTlsFiles(const TlsPaths& tls, SystemTime now);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_CERTIFICATE_H_
