#include "services/identity/peer.h"

#include <grpcpp/grpcpp.h>

#include "services/identity/forwarded_identity.h"
#include "services/identity/spiffe_id.h"

namespace retort::services {

std::vector<std::string> PeerUris(const grpc::AuthContext& context) {
  std::vector<std::string> uris;
  for (const grpc::string_ref& uri : context.FindPropertyValues("peer_uri"))
    uris.emplace_back(uri.data(), uri.size());
  return uris;
}

std::vector<std::string> CallerUris(const grpc::ServerContextBase& context) {
  if (auto forwarded = ForwardedIdentity(context); forwarded.has_value()) return {*std::move(forwarded)};
  const auto authenticated = context.auth_context();
  return authenticated == nullptr ? std::vector<std::string>() : PeerUris(*authenticated);
}

std::string CallerOf(const grpc::ServerContextBase& context) {
  const auto identity = SpiffeId::FromCertificateUris(CallerUris(context));
  return identity.ok() ? identity->text() : "";
}

}  // namespace retort::services
