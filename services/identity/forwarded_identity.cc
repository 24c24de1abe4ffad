#include "services/identity/forwarded_identity.h"

#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "ledger/hex.h"

namespace retort::services {
namespace {

// What gRPC calls the peer of its in-process transport, which has no address; peers of sockets are
// "ipv4:127.0.0.1:5", "ipv6:..." or "unix:...".
constexpr char kInProcessPeer[] = "unknown";

bool IsInProcess(const grpc::ServerContextBase& context) {
  const auto authenticated = context.auth_context();
  const bool secured = authenticated != nullptr &&
                       !authenticated->FindPropertyValues(GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME).empty();
  return !secured && context.peer() == kInProcessPeer;
}

// The only value of a header.
std::optional<std::string_view> OnlyValue(const grpc::ServerContextBase& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto [begin, end] = metadata.equal_range(name);
  if (begin == end || std::next(begin) != end) return std::nullopt;
  return std::string_view(begin->second.data(), begin->second.size());
}

}  // namespace

bool IsForwardingHeader(std::string_view name) {
  return name.size() >= kForwardedPrefix.size() &&
         std::equal(kForwardedPrefix.begin(), kForwardedPrefix.end(), name.begin(), [](char want, char seen) {
           return want == std::tolower(static_cast<unsigned char>(seen));
         });
}

const std::string& ForwardedSecret() {
  static const std::string& secret = *new std::string([] {
    unsigned char bytes[32];
    // A process without entropy cannot have made a TLS connection either.
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) std::abort();
    return ledger::HexEncode(std::string_view(reinterpret_cast<char*>(bytes), sizeof(bytes)));
  }());
  return secret;
}

void ForwardIdentity(const SpiffeId& caller, grpc::ClientContext& context) {
  context.AddMetadata(kForwardedIdentityHeader, caller.text());
  context.AddMetadata(kForwardedSecretHeader, ForwardedSecret());
}

std::optional<std::string> ForwardedIdentity(const grpc::ServerContextBase& context) {
  const auto secret = OnlyValue(context, kForwardedSecretHeader);
  const auto identity = OnlyValue(context, kForwardedIdentityHeader);
  if (!secret.has_value() || !identity.has_value() || !IsInProcess(context)) return std::nullopt;
  const std::string& wanted = ForwardedSecret();
  if (secret->size() != wanted.size() || CRYPTO_memcmp(secret->data(), wanted.data(), wanted.size()) != 0)
    return std::nullopt;
  return std::string(*identity);
}

}  // namespace retort::services
