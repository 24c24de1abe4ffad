#include "services/identity/peer.h"

#include <grpcpp/grpcpp.h>

#include "services/identity/spiffe_id.h"

namespace retort::services {

std::vector<std::string> PeerUris(const grpc::AuthContext& context) {
  std::vector<std::string> uris;
  for (const grpc::string_ref& uri : context.FindPropertyValues("peer_uri"))
    uris.emplace_back(uri.data(), uri.size());
  return uris;
}

std::string CallerOf(const grpc::ServerContextBase& context) {
  const auto authenticated = context.auth_context();
  if (authenticated == nullptr) return "";
  const auto identity = SpiffeId::FromCertificateUris(PeerUris(*authenticated));
  return identity.ok() ? identity->text() : "";
}

}  // namespace retort::services
