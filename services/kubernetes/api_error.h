// What the API server's refusals mean to a caller: one absl code for each thing that can be done next.
//
//   401  Unauthenticated     the token is not (or no longer) taken: try again with what the file then holds
//   403  PermissionDenied    the Role lacks a verb, or admission (Pod Security, a quota) refuses
//   404  NotFound
//   409  AlreadyExists       reason AlreadyExists: the name is taken
//        Aborted             any other: the object has changed since it was read
//   410  OutOfRange          the resource version is too old: list again
//   400, 413, 415, 422       InvalidArgument
//   408, 429, 5xx            Unavailable, with the pause that the server asks for
//   anything else            Unknown
//
// Source: Kubernetes API conventions, "Response Status Kind". Functions are pure.
#ifndef SERVICES_KUBERNETES_API_ERROR_H_
#define SERVICES_KUBERNETES_API_ERROR_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace retort::kubernetes {

// The status for an answer that is not 2xx. `did` says what was asked, for people: "create jobs". `body` is
// the server's Status object, or anything; its message is cut at 1,000 bytes and freed of control characters.
absl::Status ErrorOf(std::string_view did, int http_status, std::string_view body,
                     std::optional<std::chrono::seconds> retry_after);

// The pause that the server asked for; nothing when it asked for none.
std::optional<std::chrono::seconds> RetryAfter(const absl::Status& status);

// Printable characters of `text`, others as spaces, cut at `bytes_max`: what a server says is shown to
// people.
std::string Readable(std::string_view text, size_t bytes_max);

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_API_ERROR_H_
