#include "services/identity/certificate.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <time.h>

#include <memory>

#include "ledger/private_file.h"
#include "services/edge/small_file.h"

namespace retort::services {
namespace {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using X509Owner = std::unique_ptr<X509, FreeWith<X509_free>>;
using KeyOwner = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using BioOwner = std::unique_ptr<BIO, FreeWith<BIO_free>>;
using NamesOwner = std::unique_ptr<GENERAL_NAMES, FreeWith<GENERAL_NAMES_free>>;

// A key file with a pass phrase must fail, not ask the terminal.
int NoPassPhrase(char*, int, int, void*) {
  return -1;
}

absl::StatusOr<X509Owner> LoadCertificate(const std::string& path) {
  auto pem = ReadSmallFile(path);
  if (!pem.ok()) return pem.status();
  const BioOwner bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  X509Owner certificate(PEM_read_bio_X509(bio.get(), nullptr, NoPassPhrase, nullptr));
  if (certificate == nullptr) return absl::InvalidArgumentError(path + ": holds no certificate in PEM");
  return certificate;
}

SystemTime TimeOf(const ASN1_TIME* time) {
  tm parts{};
  ASN1_TIME_to_tm(time, &parts);
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

std::string TextOf(SystemTime time) {
  const time_t seconds = std::chrono::system_clock::to_time_t(time);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

CertificateFacts FactsOf(X509* certificate) {
  return {TimeOf(X509_get0_notBefore(certificate)), TimeOf(X509_get0_notAfter(certificate)),
          CertificateUris(certificate)};
}

absl::StatusOr<KeyOwner> LoadKey(const std::string& path) {
  if (auto s = ledger::CheckPrivateFile(path); !s.ok()) return s;
  auto pem = ReadSmallFile(path);
  if (!pem.ok()) return pem.status();
  const BioOwner bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())));
  KeyOwner key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassPhrase, nullptr));
  OPENSSL_cleanse(pem->data(), pem->size());
  if (key == nullptr) {
    return absl::InvalidArgumentError(path + ": holds no private key in PEM, or one with a pass phrase");
  }
  return key;
}

}  // namespace

std::vector<std::string> CertificateUris(X509* certificate) {
  std::vector<std::string> uris;
  const NamesOwner names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return uris;
}

absl::StatusOr<CertificateFacts> ReadCertificate(const std::string& path) {
  auto certificate = LoadCertificate(path);
  if (!certificate.ok()) return certificate.status();
  return FactsOf(certificate->get());
}

std::string ExpiryWarning(const std::string& path, const CertificateFacts& facts, SystemTime now) {
  if (facts.not_after <= now)
    return "certificate " + path + " ended at " + TextOf(facts.not_after) + ": put a new one there";
  if (facts.not_after - now > kExpiryWarning) return "";
  return "certificate " + path + " ends at " + TextOf(facts.not_after) +
         ", within a day: put a new pair there, the server reads it by itself";
}

absl::Status CheckTlsFiles(const TlsPaths& tls, SystemTime now) {
  auto certificate = LoadCertificate(tls.certificate);
  if (!certificate.ok()) return certificate.status();
  auto key = LoadKey(tls.private_key);
  if (!key.ok()) return key.status();
  if (auto authority = LoadCertificate(tls.authorities); !authority.ok()) return authority.status();
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    return absl::FailedPreconditionError(tls.private_key + " is not the key of " + tls.certificate +
                                         "; wanted a pair that was made together");
  }
  const CertificateFacts facts = FactsOf(certificate->get());
  if (now < facts.not_before) {
    return absl::FailedPreconditionError(tls.certificate + " begins at " + TextOf(facts.not_before) +
                                         ", now is " + TextOf(now) + ": wait, or mend this machine's clock");
  }
  if (now >= facts.not_after) {
    return absl::FailedPreconditionError(tls.certificate + " ended at " + TextOf(facts.not_after) +
                                         ", now is " + TextOf(now) +
                                         ": issue a new one, or mend this machine's clock");
  }
  return absl::OkStatus();
}

}  // namespace retort::services
