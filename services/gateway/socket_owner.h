// Which user of this machine has the other end of a loopback connection: Linux tells it of every TCP socket.
#ifndef SERVICES_GATEWAY_SOCKET_OWNER_H_
#define SERVICES_GATEWAY_SOCKET_OWNER_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace retort::services::gateway {

// An IPv4 address of the loopback network and a port, in the order of this machine.
struct Endpoint4 {
  uint32_t address = 0;
  uint16_t port = 0;
};

// The user who owns the socket that is bound to `client` and connected to `server`: the client's end, not the
// one that was accepted. Reads `table` and `table6`, of the form of /proc/net/tcp and /proc/net/tcp6
// (proc(5)); a client may have connected by an IPv6 socket, as ::ffff:127.0.0.1. NotFound when no established
// connection is in them; Unavailable when neither can be read.
absl::StatusOr<uid_t> OwnerOf(Endpoint4 client, Endpoint4 server, const std::string& table = "/proc/net/tcp",
                              const std::string& table6 = "/proc/net/tcp6");

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_SOCKET_OWNER_H_
