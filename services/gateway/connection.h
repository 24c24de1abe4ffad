// One accepted socket, with or without TLS. The two kinds are all that differs between a gateway for this
// user's own machine and one for a network.
//
// Every function is called, and every handler runs, on the connection's strand. At most one read and one
// write at a time. A handler runs exactly once; after Close with `ok` false. What is read into or written
// from stays until then.
#ifndef SERVICES_GATEWAY_CONNECTION_H_
#define SERVICES_GATEWAY_CONNECTION_H_

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "services/gateway/tls_context.h"

namespace retort::services::gateway {

class Connection {
 public:
  using Done = std::function<void(bool ok)>;
  using Read = std::function<void(
      bool ok, size_t bytes)>;  // not ok: the other side has ended, or the socket has failed

  virtual ~Connection() = default;

  // The TLS handshake, or nothing.
  virtual void Begin(Done done) = 0;
  // URIs in the verified certificate of the other side; none without TLS.
  virtual std::vector<std::string> PeerUris() = 0;
  virtual void ReadSome(char* to, size_t bytes_max, Read done) = 0;
  virtual void Write(std::string_view bytes, Done done) = 0;
  // At once. Messages of HTTP say where they end, so nobody waits for a TLS close_notify, and none is sent.
  virtual void Close() = 0;
};

// The socket's executor is the strand.
std::unique_ptr<Connection> PlainConnection(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Connection> TlsConnection(boost::asio::ip::tcp::socket socket,
                                          std::shared_ptr<TlsContext> context);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_CONNECTION_H_
