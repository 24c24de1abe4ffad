// SPIFFE ids: who a peer is, as the URI in its certificate says it (SPIFFE-ID standard, sections 2.1 to 2.4).
#ifndef SERVICES_IDENTITY_SPIFFE_ID_H_
#define SERVICES_IDENTITY_SPIFFE_ID_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::services {

// spiffe://<trust domain><path>, in the one spelling that is accepted, so that comparing text compares
// identities. Plain value.
class SpiffeId {
 public:
  // `text` exactly as it stands in the certificate. InvalidArgument, with at most 64 bytes of it, unless:
  //   - it is at most 2048 bytes and begins with "spiffe://" in lower case;
  //   - the trust domain is 1 to 255 of a-z 0-9 . - _ ;
  //   - a path follows: segments of A-Z a-z 0-9 . - _, none of them empty, "." or "..", and no slash at the
  //     end.
  // So there is no port, user, query, fragment or percent sign, and nothing to normalise.
  static absl::StatusOr<SpiffeId> Parse(std::string_view text);

  // The identity of a certificate with these URIs among its alternative names: there must be exactly one, and
  // Parse must accept it. InvalidArgument otherwise.
  static absl::StatusOr<SpiffeId> FromCertificateUris(const std::vector<std::string>& uris);

  const std::string& text() const { return text_; }
  std::string_view trust_domain() const {
    return std::string_view(text_).substr(kSchemeBytes, domain_bytes_);
  }
  // Begins with a slash.
  std::string_view path() const { return std::string_view(text_).substr(kSchemeBytes + domain_bytes_); }

  bool operator==(const SpiffeId&) const = default;

 private:
  static constexpr size_t kSchemeBytes = 9;
  SpiffeId(std::string text, size_t domain_bytes) : text_(std::move(text)), domain_bytes_(domain_bytes) {}

  std::string text_;
  size_t domain_bytes_;
};

// True for what Parse accepts as a trust domain.
bool IsTrustDomain(std::string_view text);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_SPIFFE_ID_H_
