// Whether a file that holds a secret is closed to everybody else.
#ifndef LEDGER_PRIVATE_FILE_H_
#define LEDGER_PRIVATE_FILE_H_

#include <string>

#include "absl/status/status.h"

struct stat;

namespace retort::ledger {

// OK when nobody but the file's owner has any right to it. One exception: a file of root that this process,
// not being root, can only read through one of its groups, and others not at all. Kubernetes hands a secret
// to a pod that way. FailedPrecondition says which file, what was seen and what is wanted.
absl::Status CheckPrivate(const std::string& path, const struct stat& info);

// The same for a path. NotFound, or FailedPrecondition when it cannot be looked at or is no regular file.
absl::Status CheckPrivateFile(const std::string& path);

}  // namespace retort::ledger

#endif  // LEDGER_PRIVATE_FILE_H_
