// Who is at the other end of a call.
#ifndef SERVICES_IDENTITY_PEER_H_
#define SERVICES_IDENTITY_PEER_H_

#include <string>
#include <vector>

namespace grpc {
class AuthContext;
class ServerContextBase;
}  // namespace grpc

namespace retort::services {

// URIs among the alternative names of the peer's verified certificate, in their order.
std::vector<std::string> PeerUris(const grpc::AuthContext& context);

// URIs of who calls: the identity that this process hands on for a client of its gateway
// (forwarded_identity.h), otherwise those of the peer's certificate.
std::vector<std::string> CallerUris(const grpc::ServerContextBase& context);

// The SPIFFE id of a caller that the guard has let in; empty on a connection without TLS, as in tests of one
// service alone.
std::string CallerOf(const grpc::ServerContextBase& context);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_PEER_H_
