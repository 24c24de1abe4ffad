#include "ledger/signing.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "ledger/base64.h"
#include "ledger/hex.h"
#include "ledger/private_file.h"

namespace retort::ledger {
namespace {

constexpr size_t kSeedBytes = 32;
constexpr size_t kPublicBytes = 32;
constexpr size_t kSignatureBytes = 64;
constexpr size_t kNameBytesMax = 255;
constexpr char kEd25519 = 0x01;  // type byte of signed-note
constexpr std::string_view kPrivatePrefix = "PRIVATE+KEY+";
constexpr size_t kKeyFileBytesMax = 1024;

struct KeyDeleter {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using OwnedKey = std::unique_ptr<EVP_PKEY, KeyDeleter>;

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using OwnedContext = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;

// Wipes a buffer that held a secret when it goes out of scope.
class Wiper {
 public:
  explicit Wiper(std::string& secret) : secret_(secret) {}
  ~Wiper() { OPENSSL_cleanse(secret_.data(), secret_.size()); }
  Wiper(const Wiper&) = delete;
  Wiper& operator=(const Wiper&) = delete;

 private:
  std::string& secret_;
};

const uint8_t* Bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

uint32_t NoteId(std::string_view name, std::string_view public_key) {
  std::string named(name);
  named += '\n';
  named += kEd25519;
  named += public_key;
  const Digest digest = Sha256(named);
  return uint32_t{digest[0]} << 24 | uint32_t{digest[1]} << 16 | uint32_t{digest[2]} << 8 | digest[3];
}

std::string IdHex(uint32_t id) {
  const char bytes[4] = {static_cast<char>(id >> 24), static_cast<char>(id >> 16), static_cast<char>(id >> 8),
                         static_cast<char>(id)};
  return HexEncode(std::string_view(bytes, 4));
}

std::string FormatVkey(std::string_view name, std::string_view public_key) {
  return std::string(name) + "+" + IdHex(NoteId(name, public_key)) + "+" +
         Base64Encode(std::string(1, kEd25519) + std::string(public_key));
}

struct KeyText {
  std::string_view name;
  std::string_view id;
  std::string material;  // without the type byte
};

// Splits <name>+<id>+<base64>, the shape of both key texts. Base64 may hold '+', names may not.
absl::StatusOr<KeyText> SplitKeyText(std::string_view text, std::string_view what) {
  const size_t first = text.find('+');
  const size_t second = first == std::string_view::npos ? first : text.find('+', first + 1);
  if (second == std::string_view::npos) {
    return absl::InvalidArgumentError(std::string(what) + " is not <name>+<id>+<base64>");
  }
  KeyText key{.name = text.substr(0, first), .id = text.substr(first + 1, second - first - 1)};
  if (absl::Status status = CheckKeyName(key.name); !status.ok()) return status;
  absl::StatusOr<std::string> material = Base64Decode(text.substr(second + 1));
  if (!material.ok())
    return absl::InvalidArgumentError(std::string(what) + ": " + std::string(material.status().message()));
  Wiper wiper(*material);
  if (material->size() != kPublicBytes + 1) {
    return absl::InvalidArgumentError(std::string(what) + " holds " + std::to_string(material->size()) +
                                      " bytes; wanted 33");
  }
  if (material->front() != kEd25519) {
    return absl::InvalidArgumentError(std::string(what) + " has algorithm " +
                                      std::to_string(static_cast<uint8_t>(material->front())) +
                                      "; wanted 1 (Ed25519)");
  }
  key.material = material->substr(1);
  return key;
}

absl::Status CheckId(const KeyText& key, uint32_t id, std::string_view what) {
  if (key.id == IdHex(id)) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(what) + " of " + std::string(key.name) +
                                    " has an id that does not recompute");
}

}  // namespace

absl::Status CheckKeyName(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax) {
    return absl::InvalidArgumentError("key name of " + std::to_string(name.size()) +
                                      " bytes; wanted 1 to 255");
  }
  // White space beyond ASCII, as UTF-8: U+0085, U+00A0, U+1680, U+2000-U+200A, U+2028, U+2029, U+202F,
  // U+205F, U+3000.
  for (const std::string_view space : {"\xC2\x85", "\xC2\xA0", "\xE1\x9A\x80", "\xE2\x80\xA8", "\xE2\x80\xA9",
                                       "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"}) {
    if (name.find(space) != std::string_view::npos)
      return absl::InvalidArgumentError("key name holds white space");
  }
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<uint8_t>(name[i]);
    if (c <= 0x20 || c == 0x7F)
      return absl::InvalidArgumentError("key name holds white space or a control character");
    if (c == '+') return absl::InvalidArgumentError("key name holds a '+'");
    if (name.substr(i, 2) == "\xE2\x80" && i + 2 < name.size() && static_cast<uint8_t>(name[i + 2]) >= 0x80 &&
        static_cast<uint8_t>(name[i + 2]) <= 0x8A) {
      return absl::InvalidArgumentError("key name holds white space");
    }
  }
  return absl::OkStatus();
}

struct SigningKey::Secret {
  ~Secret() { OPENSSL_cleanse(seed.data(), seed.size()); }

  std::string name;
  std::string seed;
  std::string public_key;
  OwnedKey key;
};

SigningKey::SigningKey(std::unique_ptr<Secret> secret) : secret_(std::move(secret)) {}
SigningKey::SigningKey(SigningKey&&) noexcept = default;
SigningKey& SigningKey::operator=(SigningKey&&) noexcept = default;
SigningKey::~SigningKey() = default;

absl::StatusOr<SigningKey> SigningKey::FromSeed(std::string name, std::string_view seed) {
  if (absl::Status status = CheckKeyName(name); !status.ok()) return status;
  if (seed.size() != kSeedBytes) {
    return absl::InvalidArgumentError("seed of " + std::to_string(seed.size()) + " bytes; wanted 32");
  }
  auto secret = std::make_unique<Secret>();
  secret->name = std::move(name);
  secret->seed = seed;
  secret->key.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, Bytes(seed), seed.size()));
  if (secret->key == nullptr) return absl::InternalError("OpenSSL cannot make an Ed25519 key");
  secret->public_key.resize(kPublicBytes);
  size_t length = kPublicBytes;
  if (EVP_PKEY_get_raw_public_key(secret->key.get(), reinterpret_cast<uint8_t*>(secret->public_key.data()),
                                  &length) != 1 ||
      length != kPublicBytes) {
    return absl::InternalError("OpenSSL cannot derive an Ed25519 public key");
  }
  return SigningKey(std::move(secret));
}

absl::StatusOr<SigningKey> SigningKey::Generate(std::string name) {
  std::string seed(kSeedBytes, '\0');
  Wiper wiper(seed);
  if (RAND_priv_bytes(reinterpret_cast<uint8_t*>(seed.data()), static_cast<int>(seed.size())) != 1) {
    return absl::InternalError("the system has no entropy for a key");
  }
  return FromSeed(std::move(name), seed);
}

absl::StatusOr<SigningKey> SigningKey::Parse(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (!text.starts_with(kPrivatePrefix)) {
    return absl::InvalidArgumentError("private key does not begin with PRIVATE+KEY+");
  }
  absl::StatusOr<KeyText> parts = SplitKeyText(text.substr(kPrivatePrefix.size()), "private key");
  if (!parts.ok()) return parts.status();
  Wiper wiper(parts->material);
  absl::StatusOr<SigningKey> key = FromSeed(std::string(parts->name), parts->material);
  if (!key.ok()) return key.status();
  if (absl::Status status = CheckId(*parts, key->note_id(), "private key"); !status.ok()) return status;
  return key;
}

absl::StatusOr<SigningKey> SigningKey::Load(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) {
    const std::string message = "key file " + path + ": " + std::strerror(errno);
    return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  struct stat info {};
  std::string text(kKeyFileBytesMax, '\0');
  Wiper wiper(text);
  ssize_t length = -1;
  absl::Status status = fstat(file, &info) == 0
                            ? CheckPrivate(path, info)
                            : absl::UnavailableError("key file " + path + ": " + std::strerror(errno));
  if (status.ok()) {
    length = read(file, text.data(), text.size());
    if (length < 0) status = absl::UnavailableError("key file " + path + ": " + std::strerror(errno));
  }
  close(file);
  if (!status.ok()) return status;
  absl::StatusOr<SigningKey> key = Parse(std::string_view(text.data(), static_cast<size_t>(length)));
  if (!key.ok())
    return absl::InvalidArgumentError("key file " + path + ": " + std::string(key.status().message()));
  return key;
}

absl::Status SigningKey::Save(const std::string& path) const {
  std::string material = std::string(1, kEd25519) + secret_->seed;
  Wiper wipe_material(material);
  std::string text = std::string(kPrivatePrefix) + name() + "+" + IdHex(note_id()) + "+";
  text.reserve(text.size() + 64);  // no reallocation that would leave a copy of the seed behind
  Wiper wipe_text(text);
  std::string encoded = Base64Encode(material);
  Wiper wipe_encoded(encoded);
  text += encoded;
  text += '\n';
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) {
    const std::string message = "key file " + path + ": " + std::strerror(errno);
    return errno == EEXIST ? absl::AlreadyExistsError(message) : absl::UnavailableError(message);
  }
  const bool written =
      write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(file) == 0;
  const std::string error = std::strerror(errno);
  close(file);
  if (written) return absl::OkStatus();
  unlink(path.c_str());
  return absl::UnavailableError("key file " + path + ": " + error);
}

absl::StatusOr<SigningKey> SigningKey::WithName(std::string name) const {
  return FromSeed(std::move(name), secret_->seed);
}

const std::string& SigningKey::name() const {
  return secret_->name;
}
std::string SigningKey::vkey() const {
  return FormatVkey(secret_->name, secret_->public_key);
}
Digest SigningKey::key_id() const {
  return Sha256(secret_->public_key);
}
uint32_t SigningKey::note_id() const {
  return NoteId(secret_->name, secret_->public_key);
}

Signature SigningKey::Sign(std::string_view bytes) const {
  Signature signature;
  size_t length = signature.size();
  const OwnedContext context(EVP_MD_CTX_new());
  const bool ok = context != nullptr &&
                  EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, secret_->key.get()) == 1 &&
                  EVP_DigestSign(context.get(), signature.data(), &length, Bytes(bytes), bytes.size()) == 1;
  assert(ok && length == kSignatureBytes && "Ed25519 signing fails only without memory");
  (void)ok;
  return signature;
}

struct VerifyingKey::Public {
  std::string name;
  std::string public_key;
  Digest key_id{};
  uint32_t note_id = 0;
  OwnedKey key;
};

VerifyingKey::VerifyingKey(std::unique_ptr<Public> key) : key_(std::move(key)) {}
VerifyingKey::VerifyingKey(VerifyingKey&&) noexcept = default;
VerifyingKey& VerifyingKey::operator=(VerifyingKey&&) noexcept = default;
VerifyingKey::~VerifyingKey() = default;

absl::StatusOr<VerifyingKey> VerifyingKey::Parse(std::string_view vkey) {
  absl::StatusOr<KeyText> parts = SplitKeyText(vkey, "vkey");
  if (!parts.ok()) return parts.status();
  auto key = std::make_unique<Public>();
  key->name = parts->name;
  key->public_key = parts->material;
  key->key_id = Sha256(key->public_key);
  key->note_id = NoteId(key->name, key->public_key);
  if (absl::Status status = CheckId(*parts, key->note_id, "vkey"); !status.ok()) return status;
  key->key.reset(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, Bytes(key->public_key), key->public_key.size()));
  if (key->key == nullptr)
    return absl::InvalidArgumentError("vkey of " + key->name + " holds no Ed25519 key");
  return VerifyingKey(std::move(key));
}

const std::string& VerifyingKey::name() const {
  return key_->name;
}
std::string VerifyingKey::vkey() const {
  return FormatVkey(key_->name, key_->public_key);
}
Digest VerifyingKey::key_id() const {
  return key_->key_id;
}
uint32_t VerifyingKey::note_id() const {
  return key_->note_id;
}

absl::Status VerifyingKey::Verify(std::string_view bytes, std::string_view signature) const {
  if (signature.size() != kSignatureBytes) {
    return absl::InvalidArgumentError("signature of " + std::to_string(signature.size()) +
                                      " bytes; wanted 64");
  }
  const OwnedContext context(EVP_MD_CTX_new());
  if (context == nullptr ||
      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key_->key.get()) != 1) {
    return absl::InternalError("OpenSSL cannot begin an Ed25519 verification");
  }
  if (EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(bytes), bytes.size()) != 1) {
    return absl::DataLossError("signature does not verify with key " + key_->name);
  }
  return absl::OkStatus();
}

absl::Status VerifyingKey::Verify(std::string_view bytes, const Signature& signature) const {
  return Verify(bytes, std::string_view(reinterpret_cast<const char*>(signature.data()), signature.size()));
}

}  // namespace retort::ledger
