// Ed25519 keys (RFC 8032), named as in C2SP signed-note: a signer owns a seed, anybody can hold the verifier.
//
//   absl::StatusOr<SigningKey> key = SigningKey::Load("/etc/retort/teacher.key");
//   std::array<uint8_t, 64> signature = key->Sign(PreAuthenticationEncoding(type, body));
//
// A key id is SHA-256 of the 32 public bytes. Signing and verifying are const and safe from any number of
// threads. Keys are move-only; the seed is wiped when its owner goes and appears in no message.
#ifndef LEDGER_SIGNING_H_
#define LEDGER_SIGNING_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/digest.h"

namespace retort::ledger {

using Signature = std::array<uint8_t, 64>;

// InvalidArgument unless `name` may be a key name: 1 to 255 bytes of UTF-8 without white space, control
// characters or '+'.
absl::Status CheckKeyName(std::string_view name);

class SigningKey {
 public:
  // A fresh key. InvalidArgument for a bad name; Internal when the system has no entropy.
  static absl::StatusOr<SigningKey> Generate(std::string name);

  // The key with this 32-byte seed, for tests with published keys. InvalidArgument for a bad name or length.
  static absl::StatusOr<SigningKey> FromSeed(std::string name, std::string_view seed);

  // Reads the text form below. InvalidArgument when malformed or when its id does not recompute.
  static absl::StatusOr<SigningKey> Parse(std::string_view text);

  // Reads a key file: one line PRIVATE+KEY+<name>+<8 hex of key id>+base64(0x01 || seed), with or without a
  // final newline. NotFound when there is no file; FailedPrecondition when it is not a regular file or others
  // than its owner may read it; InvalidArgument when malformed; Unavailable when it cannot be read.
  static absl::StatusOr<SigningKey> Load(const std::string& path);

  // Writes that form to a new file of mode 0600 and syncs it. AlreadyExists when the path is taken: keys are
  // never overwritten. Unavailable for any other failure.
  absl::Status Save(const std::string& path) const;

  // The same key under another name: a deployment signs the log of each project under that log's origin, and
  // the name is part of every note id. InvalidArgument for a bad name.
  absl::StatusOr<SigningKey> WithName(std::string name) const;

  SigningKey(SigningKey&&) noexcept;
  SigningKey& operator=(SigningKey&&) noexcept;
  ~SigningKey();

  const std::string& name() const;
  // <name>+<8 hex>+base64(0x01 || public key)
  std::string vkey() const;
  // SHA-256 of the 32-byte public key.
  Digest key_id() const;
  // First four bytes of SHA-256(name || "\n" || 0x01 || public key): the id inside notes and vkeys.
  uint32_t note_id() const;

  Signature Sign(std::string_view bytes) const;

 private:
  struct Secret;
  explicit SigningKey(std::unique_ptr<Secret> secret);
  std::unique_ptr<Secret> secret_;
};

class VerifyingKey {
 public:
  // Parses <name>+<8 lower-case hex>+base64(0x01 || 32-byte key), split at the first two '+'. InvalidArgument
  // when malformed, of another algorithm, or when its id does not recompute.
  static absl::StatusOr<VerifyingKey> Parse(std::string_view vkey);

  VerifyingKey(VerifyingKey&&) noexcept;
  VerifyingKey& operator=(VerifyingKey&&) noexcept;
  ~VerifyingKey();

  const std::string& name() const;
  std::string vkey() const;
  Digest key_id() const;
  uint32_t note_id() const;

  // OK when `signature` is this key's over `bytes`. InvalidArgument for a length other than 64; DataLoss when
  // it does not verify (an S at or above the group order included).
  absl::Status Verify(std::string_view bytes, std::string_view signature) const;
  absl::Status Verify(std::string_view bytes, const Signature& signature) const;

 private:
  struct Public;
  explicit VerifyingKey(std::unique_ptr<Public> key);
  std::unique_ptr<Public> key_;
};

}  // namespace retort::ledger

#endif  // LEDGER_SIGNING_H_
