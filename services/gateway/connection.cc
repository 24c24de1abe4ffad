#include "services/gateway/connection.h"

#include <openssl/ssl.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "services/identity/certificate.h"

namespace retort::services::gateway {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class Plain final : public Connection {
 public:
  explicit Plain(tcp::socket socket) : socket_(std::move(socket)) {}

  void Begin(Done done) override {
    asio::post(socket_.get_executor(), [done = std::move(done)] { done(true); });
  }
  std::vector<std::string> PeerUris() override { return {}; }
  void ReadSome(char* to, size_t bytes_max, Read done) override {
    socket_.async_read_some(
        asio::buffer(to, bytes_max),
        [done = std::move(done)](error_code error, size_t bytes) { done(!error, bytes); });
  }
  void Write(std::string_view bytes, Done done) override {
    asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()),
                      [done = std::move(done)](error_code error, size_t) { done(!error); });
  }
  void Close() override {
    error_code ignored;  // a socket that cannot be closed in order is closed all the same
    socket_.close(ignored);
  }

 private:
  tcp::socket socket_;
};

struct FreeCertificate {
  void operator()(X509* certificate) const { X509_free(certificate); }
};

class Tls final : public Connection {
 public:
  Tls(tcp::socket socket, std::shared_ptr<TlsContext> context)
      : context_(std::move(context)), stream_(std::move(socket), *context_) {}

  void Begin(Done done) override {
    stream_.async_handshake(asio::ssl::stream_base::server,
                            [done = std::move(done)](error_code error) { done(!error); });
  }
  std::vector<std::string> PeerUris() override {
    const std::unique_ptr<X509, FreeCertificate> certificate(
        SSL_get1_peer_certificate(stream_.native_handle()));
    return certificate == nullptr ? std::vector<std::string>() : CertificateUris(certificate.get());
  }
  void ReadSome(char* to, size_t bytes_max, Read done) override {
    stream_.async_read_some(
        asio::buffer(to, bytes_max),
        [done = std::move(done)](error_code error, size_t bytes) { done(!error, bytes); });
  }
  void Write(std::string_view bytes, Done done) override {
    asio::async_write(stream_, asio::buffer(bytes.data(), bytes.size()),
                      [done = std::move(done)](error_code error, size_t) { done(!error); });
  }
  void Close() override {
    error_code ignored;
    stream_.next_layer().close(ignored);
  }

 private:
  const std::shared_ptr<TlsContext> context_;  // shared: connections keep the files that they began with
  asio::ssl::stream<tcp::socket> stream_;
};

}  // namespace

std::unique_ptr<Connection> PlainConnection(tcp::socket socket) {
  return std::make_unique<Plain>(std::move(socket));
}

std::unique_ptr<Connection> TlsConnection(tcp::socket socket, std::shared_ptr<TlsContext> context) {
  return std::make_unique<Tls>(std::move(socket), std::move(context));
}

}  // namespace retort::services::gateway
