#include "tests/services/identity/test_authority.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cassert>
#include <cstdio>
#include <utility>

namespace retort::services {
namespace {

void Extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  assert(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* NewCertificate(EVP_PKEY* key, const char* name, X509* issuer, const TestAuthority::Leaf& leaf) {
  static long serial = 1;
  X509* certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), leaf.begins.count());
  X509_gmtime_adj(X509_getm_notAfter(certificate), leaf.ends.count());
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer == nullptr ? certificate : issuer));
  return certificate;
}

void WriteCertificate(const std::string& path, X509* certificate) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  assert(file != nullptr);
  PEM_write_X509(file, certificate);
  std::fclose(file);
}

}  // namespace

struct TestAuthority::Impl {
  EVP_PKEY* key;
  X509* certificate;
};

TestAuthority::TestAuthority(std::string folder)
    : folder_(std::move(folder)), impl_(std::make_unique<Impl>()) {
  impl_->key = EVP_EC_gen("P-256");
  impl_->certificate = NewCertificate(impl_->key, "test authority", nullptr, {});
  Extend(impl_->certificate, impl_->certificate, NID_basic_constraints, "critical,CA:TRUE");
  X509_sign(impl_->certificate, impl_->key, EVP_sha256());
  WriteCertificate(folder_ + "/ca.crt", impl_->certificate);
}

TestAuthority::~TestAuthority() {
  X509_free(impl_->certificate);
  EVP_PKEY_free(impl_->key);
}

TlsPaths TestAuthority::Issue(const std::string& name, const Leaf& leaf) const {
  const TlsPaths paths{folder_ + "/" + name + ".crt", folder_ + "/" + name + ".key", folder_ + "/ca.crt"};
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = NewCertificate(key, name.c_str(), impl_->certificate, leaf);
  std::string names = "DNS:localhost,IP:127.0.0.1";
  for (const std::string& uri : leaf.uris) names += ",URI:" + uri;
  Extend(certificate, impl_->certificate, NID_subject_alt_name, names);
  X509_sign(certificate, impl_->key, EVP_sha256());
  WriteCertificate(paths.certificate, certificate);
  std::FILE* file = std::fopen(paths.private_key.c_str(), "w");
  assert(file != nullptr);
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(file);
  chmod(paths.private_key.c_str(), 0600);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return paths;
}

}  // namespace retort::services
