#include "services/identity/tls_credentials.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>

#include "services/identity/certificate.h"

namespace retort::services {
namespace {

namespace tls_api = grpc::experimental;

std::shared_ptr<tls_api::FileWatcherCertificateProvider> Watch(const TlsPaths& tls,
                                                               std::chrono::seconds refresh) {
  return std::make_shared<tls_api::FileWatcherCertificateProvider>(
      tls.private_key, tls.certificate, tls.authorities,
      static_cast<unsigned int>(std::max<int64_t>(1, refresh.count())));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ServerTls(const TlsPaths& tls,
                                                                   std::chrono::seconds refresh) {
  if (auto s = CheckTlsFiles(tls, std::chrono::system_clock::now()); !s.ok()) return s;
  tls_api::TlsServerCredentialsOptions options(Watch(tls, refresh));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return tls_api::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ClientTls(const TlsPaths& tls,
                                                                    std::chrono::seconds refresh) {
  if (auto s = CheckTlsFiles(tls, std::chrono::system_clock::now()); !s.ok()) return s;
  tls_api::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(tls, refresh));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return tls_api::TlsCredentials(options);
}

}  // namespace retort::services
