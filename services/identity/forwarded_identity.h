// Hands on who calls, inside one process: the gateway checks a client's certificate and then calls the gRPC
// services of its own process for that client.
//
// The identity travels as call metadata, beside a secret that is drawn when the process begins and never
// leaves it. It is believed only when the call came over the in-process transport and holds the secret. So a
// network peer that sends these headers gains nothing, even with the right secret: its own certificate
// counts.
//
// Functions are safe on any thread.
#ifndef SERVICES_IDENTITY_FORWARDED_IDENTITY_H_
#define SERVICES_IDENTITY_FORWARDED_IDENTITY_H_

#include <optional>
#include <string>
#include <string_view>

#include "services/identity/spiffe_id.h"

namespace grpc {
class ClientContext;
class ServerContextBase;
}  // namespace grpc

namespace retort::services {

inline constexpr std::string_view kForwardedPrefix = "retort-forwarded-";
inline constexpr char kForwardedIdentityHeader[] = "retort-forwarded-identity";
inline constexpr char kForwardedSecretHeader[] = "retort-forwarded-secret";

// True for names that no client outside this process may set, in any case of letters.
bool IsForwardingHeader(std::string_view name);

// Makes the call one of `caller`, which AccessGuard::Admit has let in.
void ForwardIdentity(const SpiffeId& caller, grpc::ClientContext& context);

// The identity that was handed on; nothing unless the call is of this process and holds the secret.
std::optional<std::string> ForwardedIdentity(const grpc::ServerContextBase& context);

// The secret, 64 hexadecimal digits; for the test that shows that it alone is worth nothing.
const std::string& ForwardedSecret();

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_FORWARDED_IDENTITY_H_
