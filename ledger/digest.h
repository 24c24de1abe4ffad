// SHA-256, the one hash of the ledger. Total functions; a hasher belongs to one thread at a time.
#ifndef LEDGER_DIGEST_H_
#define LEDGER_DIGEST_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

namespace retort::ledger {

using Digest = std::array<uint8_t, 32>;

// SHA-256 of `bytes`.
Digest Sha256(std::string_view bytes);

// SHA-256(salt || payload): the digest by which a capture statement names a private payload. Without the salt
// nobody can confirm a guess of the payload.
Digest SaltedDigest(std::string_view salt, std::string_view payload);

// SHA-256 of bytes that come in pieces.
class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(Sha256Hasher&&) noexcept;
  Sha256Hasher& operator=(Sha256Hasher&&) noexcept;

  void Update(std::string_view bytes);
  // Digest of everything since construction or the last Finish; the hasher starts afresh.
  Digest Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The 32 bytes of a digest as a view, for concatenation and lookup.
inline std::string_view AsView(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

}  // namespace retort::ledger

#endif  // LEDGER_DIGEST_H_
