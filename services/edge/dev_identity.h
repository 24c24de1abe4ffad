// Throw-away identities for `retortd --dev`: a certificate authority and three leaves on loopback.
#ifndef SERVICES_EDGE_DEV_IDENTITY_H_
#define SERVICES_EDGE_DEV_IDENTITY_H_

#include <string>

#include "absl/status/status.h"

namespace retort::services {

// Writes into `folder`, unless all are there and none has ended: ca.crt, and server, client and second, each
// .crt and .key. Keys are ECDSA P-256, readable by the owner only. Leaves are valid for localhost and
// 127.0.0.1, carry a SPIFFE URI (spiffe://dev.retort.invalid/server, /client, /second), serve both as client
// and server, and end after 90 days. The authority's key is never written. FailedPrecondition when the folder
// cannot be written.
absl::Status EnsureDevIdentity(const std::string& folder);

}  // namespace retort::services

#endif  // SERVICES_EDGE_DEV_IDENTITY_H_
