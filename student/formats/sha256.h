// SHA-256 (FIPS 180-4) through libcrypto, for digests of manifests, checkpoints and tensors.
#ifndef STUDENT_FORMATS_SHA256_H_
#define STUDENT_FORMATS_SHA256_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace retort::student {

using Sha256Digest = std::array<uint8_t, 32>;

// A running hash. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(std::span<const uint8_t> bytes);
  void Update(std::string_view bytes);
  // Ends the hash; nothing may follow.
  Sha256Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Sha256Digest Sha256Of(std::string_view bytes);

// Lower-case hex.
std::string HexOf(std::span<const uint8_t> bytes);

}  // namespace retort::student

#endif  // STUDENT_FORMATS_SHA256_H_
