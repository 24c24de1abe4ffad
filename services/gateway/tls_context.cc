#include "services/gateway/tls_context.h"

#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <chrono>
#include <utility>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "services/edge/small_file.h"
#include "services/identity/certificate.h"

namespace retort::services::gateway {
namespace {

using boost::system::error_code;

// HTTP/1.1 for those who offer a choice; others speak it anyhow.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_bytes, const unsigned char* offered,
                   unsigned int offered_bytes, void*) {
  static constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_bytes, kHttp11, sizeof(kHttp11), offered, offered_bytes) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

struct Pem {
  std::string certificate, private_key, authorities;
};

absl::StatusOr<Pem> ReadAll(const TlsPaths& paths) {
  Pem pem;
  for (const auto& [path, bytes] : {std::pair{&paths.certificate, &pem.certificate},
                                    {&paths.private_key, &pem.private_key},
                                    {&paths.authorities, &pem.authorities}}) {
    auto read = ReadSmallFile(*path);
    if (!read.ok()) return read.status();
    *bytes = *std::move(read);
  }
  return pem;
}

// Of the private key's bytes too: only their digest is kept.
std::string DigestOf(const Pem& pem) {
  return ledger::HexEncode(ledger::Sha256(pem.certificate)) +
         ledger::HexEncode(ledger::Sha256(pem.private_key)) +
         ledger::HexEncode(ledger::Sha256(pem.authorities));
}

absl::StatusOr<std::shared_ptr<TlsContext>> Make(const TlsPaths& paths, const Pem& pem) {
  auto context = std::make_shared<TlsContext>(TlsContext::tls_server);
  const auto failed = [](const std::string& path, const error_code& error) {
    return absl::FailedPreconditionError(path + ": cannot be used for TLS: " + error.message());
  };
  error_code error;
  context->use_certificate_chain(boost::asio::buffer(pem.certificate), error);
  if (error) return failed(paths.certificate, error);
  context->use_private_key(boost::asio::buffer(pem.private_key), TlsContext::pem, error);
  if (error) return failed(paths.private_key, error);
  context->load_verify_file(paths.authorities,
                            error);  // all of the file; add_certificate_authority takes one
  if (error) return failed(paths.authorities, error);
  context->set_verify_mode(boost::asio::ssl::verify_peer | boost::asio::ssl::verify_fail_if_no_peer_cert,
                           error);
  if (error) return failed(paths.authorities, error);
  SSL_CTX* const native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(native, 0);
  SSL_CTX_set_alpn_select_cb(native, ChooseProtocol, nullptr);
  if (SSL_CTX_check_private_key(native) != 1)
    return absl::FailedPreconditionError(paths.private_key + " is not the key of " + paths.certificate);
  return context;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(const TlsPaths& paths) {
  std::unique_ptr<TlsFiles> files(new TlsFiles(paths));
  if (auto s = files->Refresh(); !s.ok()) return s;
  return files;
}

std::shared_ptr<TlsContext> TlsFiles::context() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

absl::Status TlsFiles::Refresh() {
  const auto pem = ReadAll(paths_);
  const std::string now = pem.ok() ? DigestOf(*pem) : std::string(pem.status().message());
  {
    const std::lock_guard lock(mutex_);
    if (now == used_) return absl::OkStatus();
  }
  const absl::Status ready =
      pem.ok() ? CheckTlsFiles(paths_, std::chrono::system_clock::now()) : pem.status();
  auto made = ready.ok() ? Make(paths_, *pem) : absl::StatusOr<std::shared_ptr<TlsContext>>(ready);
  const std::lock_guard lock(mutex_);
  if (!made.ok()) {  // tried again each time: a certificate may begin later, without a change
    const bool said = std::exchange(refused_, now) == now;
    return said ? absl::OkStatus() : made.status();
  }
  context_ = *std::move(made);
  used_ = now;
  return absl::OkStatus();
}

}  // namespace retort::services::gateway
