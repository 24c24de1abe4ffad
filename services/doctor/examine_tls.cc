#include "services/doctor/examine_tls.h"

#include <grpcpp/grpcpp.h>

#include "grpc/health/v1/health.grpc.pb.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"
#include "services/identity/certificate.h"
#include "services/identity/spiffe_id.h"

namespace retort::services {

std::vector<Finding> ExamineTlsFiles(const TlsPaths& tls, std::chrono::system_clock::time_point now) {
  std::vector<Finding> findings;
  findings.push_back(FromStatus("tls files", CheckTlsFiles(tls, now),
                                "they are closed, valid and belong together",
                                "put the pair of this identity at these paths; keys have mode 0600"));
  const auto facts = ReadCertificate(tls.certificate);
  if (!facts.ok()) return findings;  // said above
  const auto identity = SpiffeId::FromCertificateUris(facts->uris);
  findings.push_back(FromStatus("identity", identity.status(), identity.ok() ? identity->text() : "",
                                "issue a certificate with one URI spiffe://<trust domain>/<path>"));
  const auto left = std::chrono::duration_cast<std::chrono::hours>(facts->not_after - now);
  const std::string warning = ExpiryWarning(tls.certificate, *facts, now);
  const std::string days = std::to_string(left.count() / 24) + " days and " +
                           std::to_string(left.count() % 24) + " hours are left";
  if (warning.empty()) {
    findings.push_back(Good("certificate", days));
  } else {
    findings.push_back(
        Warning("certificate", warning, "renew it; new files at the same paths are read without a restart"));
  }
  return findings;
}

Finding ExaminePeer(const std::string& what, const std::string& address, const TlsPaths& tls,
                    std::chrono::milliseconds patience) {
  auto channel = ConnectTo(address, tls);
  if (!channel.ok()) return Bad(what, std::string(channel.status().message()), "see the TLS files");
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  SetDeadline(context, patience);
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status =
      grpc::health::v1::Health::NewStub(*channel)->Check(&context, request, &response);
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING)
        return Good(what, address + " answers and is ready");
      return Bad(what, address + " answers and is not ready", "its log says why, in a line `not ready: ...`");
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      return Bad(what, address + ": " + status.error_message(),
                 "an operator grants a role in the server's access file");
    default:
      return Bad(what, address + " does not answer: " + status.error_message(),
                 "start it; look whether host and port are right, whether its certificate names this host, "
                 "and whether "
                 "both sides have the same authority");
  }
}

}  // namespace retort::services
