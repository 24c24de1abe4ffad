// A provider's API key: read once, handed to the HTTP client, wiped when no longer needed.
//
// Keys come from a file that only its owner can read, or from an environment variable; never from a job, a
// request or a configuration value. There is no way to print one: no operator<<, no implicit conversion, and
// no message holds any of it.
#ifndef TEACHER_API_KEY_H_
#define TEACHER_API_KEY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::teacher {

// Move-only; a moved-from key is empty. Reading a key that nobody moves is safe on any thread.
class ApiKey {
 public:
  // The key in `path`, without white space at the end. FailedPrecondition when the file is missing, is not a
  // regular file, cannot be read, can be read or written by group or others (root's may be readable by a
  // group, as Kubernetes mounts Secrets for other users), or holds anything but 1 to 4096 visible ASCII
  // characters. Messages name the path and the mode.
  static absl::StatusOr<ApiKey> FromFile(const std::string& path);

  // The key in the environment variable `name`. FailedPrecondition when it is unset, or is no key as above.
  // The environment keeps its own copy: prefer a file.
  static absl::StatusOr<ApiKey> FromEnvironment(const std::string& name);

  ApiKey(ApiKey&& other) noexcept;
  ApiKey& operator=(ApiKey&& other) noexcept;
  ApiKey(const ApiKey&) = delete;
  ApiKey& operator=(const ApiKey&) = delete;
  ~ApiKey();  // overwrites the bytes

  // The characters, for one header of one request. The view ends with the key.
  std::string_view Reveal() const { return {bytes_.get(), size_}; }

 private:
  explicit ApiKey(std::string_view key);
  void Wipe();

  std::unique_ptr<char[]> bytes_;  // on the heap, so that a move leaves no copy behind
  size_t size_ = 0;
};

}  // namespace retort::teacher

#endif  // TEACHER_API_KEY_H_
