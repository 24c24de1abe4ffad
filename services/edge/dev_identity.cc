#include "services/edge/dev_identity.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

namespace retort::services {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

constexpr long kValidSeconds = 90L * 24 * 3600;
constexpr const char* kFiles[] = {"ca.crt",     "server.crt", "server.key", "client.crt",
                                  "client.key", "second.crt", "second.key"};

Key NewKey() {
  Key key(EVP_EC_gen("P-256"));
  assert(key != nullptr);
  return key;
}

void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  assert(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// A certificate of `key` for `name`, not yet signed.
Certificate NewCertificate(EVP_PKEY* key, const char* name, X509* issuer) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  unsigned char serial[16];
  const int random = RAND_bytes(serial, sizeof(serial));
  assert(random == 1);
  serial[0] &= 0x7f;  // serial numbers are positive
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate.get()));
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()),
                  -300);  // clocks of two machines may differ a little
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kValidSeconds);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(certificate.get(),
                       X509_get_subject_name(issuer == nullptr ? certificate.get() : issuer));
  return certificate;
}

std::string PemOf(X509* certificate) {
  Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string PemOf(EVP_PKEY* key) {
  Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::Status WriteFile(const std::string& path, const std::string& bytes, mode_t mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return absl::FailedPreconditionError(path + ": cannot be written: " + std::strerror(errno));
  const bool written =
      write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && fsync(fd) == 0;
  close(fd);
  if (!written) return absl::FailedPreconditionError(path + ": cannot be written: " + std::strerror(errno));
  return absl::OkStatus();
}

absl::Status WriteLeaf(const std::string& folder, const std::string& role, EVP_PKEY* ca_key, X509* ca) {
  const Key key = NewKey();
  const Certificate leaf = NewCertificate(key.get(), ("retort dev " + role).c_str(), ca);
  const std::string names = "DNS:localhost,IP:127.0.0.1,URI:spiffe://dev.retort.invalid/" + role;
  AddExtension(leaf.get(), ca, NID_basic_constraints, "critical,CA:FALSE");
  AddExtension(leaf.get(), ca, NID_key_usage, "critical,digitalSignature");
  AddExtension(leaf.get(), ca, NID_ext_key_usage, "serverAuth,clientAuth");
  AddExtension(leaf.get(), ca, NID_subject_alt_name, names.c_str());
  X509_sign(leaf.get(), ca_key, EVP_sha256());
  if (auto s = WriteFile(folder + "/" + role + ".key", PemOf(key.get()), 0600); !s.ok()) return s;
  return WriteFile(folder + "/" + role + ".crt", PemOf(leaf.get()), 0644);
}

// All leaves are made together, so one tells about the others.
bool IsStillValid(const std::string& path) {
  const Bio bio(BIO_new_file(path.c_str(), "r"));
  const Certificate certificate(bio == nullptr ? nullptr
                                               : PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  return certificate != nullptr && X509_cmp_current_time(X509_get0_notAfter(certificate.get())) > 0;
}

}  // namespace

absl::Status EnsureDevIdentity(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::FailedPreconditionError(folder + ": cannot be created: " + error.message());
  bool complete = true;
  for (const char* file : kFiles) complete = complete && std::filesystem::exists(folder + "/" + file, error);
  complete = complete && IsStillValid(folder + "/server.crt");
  if (complete) return absl::OkStatus();

  const Key ca_key = NewKey();
  const Certificate ca = NewCertificate(ca_key.get(), "retort dev authority", nullptr);
  AddExtension(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  AddExtension(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  AddExtension(ca.get(), ca.get(), NID_subject_key_identifier, "hash");
  X509_sign(ca.get(), ca_key.get(), EVP_sha256());
  for (const char* role : {"server", "client", "second"}) {
    if (auto s = WriteLeaf(folder, role, ca_key.get(), ca.get()); !s.ok()) return s;
  }
  return WriteFile(folder + "/ca.crt", PemOf(ca.get()), 0644);
}

}  // namespace retort::services
