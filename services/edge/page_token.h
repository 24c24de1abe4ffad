// Page tokens (AIP-158): opaque, authenticated, bound to one listing.
#ifndef SERVICES_EDGE_PAGE_TOKEN_H_
#define SERVICES_EDGE_PAGE_TOKEN_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::services {

// Seals positions of listings with HMAC-SHA-256 under a key that lives as long as the process or the store
// that holds it. Immutable after construction; safe on any thread.
class PageTokens {
 public:
  // `key` is at least 32 random bytes.
  explicit PageTokens(std::string key);

  // A key from the system's entropy; tokens then end with the process.
  static PageTokens WithRandomKey();

  // A URL-safe token for `position` in the listing that `scope` names: parent, filter, order, and whatever
  // else must stay the same from page to page.
  std::string Seal(std::string_view scope, std::string_view position) const;

  // The position; InvalidArgument with reason PAGE_TOKEN_INVALID when the token is malformed, altered, or of
  // another scope.
  absl::StatusOr<std::string> Open(std::string_view scope, std::string_view token) const;

 private:
  std::string key_;
};

// The number of items to return: 0 is 50, above 1000 is 1000; InvalidArgument when negative.
absl::StatusOr<int32_t> PageSize(int32_t requested);

}  // namespace retort::services

#endif  // SERVICES_EDGE_PAGE_TOKEN_H_
