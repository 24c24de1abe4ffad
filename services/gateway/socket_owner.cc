#include "services/gateway/socket_owner.h"

#include <arpa/inet.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>

namespace retort::services::gateway {
namespace {

constexpr char kEstablished[] = "01";

// "0100007F:1F90": the bytes of the address as a number of this machine, the port as it is.
std::string InTable(Endpoint4 endpoint) {
  char text[16];
  snprintf(text, sizeof(text), "%08X:%04X", htonl(endpoint.address), endpoint.port);
  return text;
}

std::string InTable6(Endpoint4 endpoint) {
  char prefix[32];
  snprintf(prefix, sizeof(prefix), "%016X%08X", 0, htonl(0xffff));
  return prefix + InTable(endpoint);
}

// The owner of the row with these two ends.
std::optional<uid_t> Find(std::ifstream& rows, const std::string& local, const std::string& remote) {
  for (std::string line; std::getline(rows, line);) {
    std::istringstream row(line);
    std::string number, here, there, state, queues, timer, retransmits;
    uint64_t uid = 0;
    if (!(row >> number >> here >> there >> state)) continue;
    if (here != local || there != remote || state != kEstablished) continue;
    if (row >> queues >> timer >> retransmits >> uid) return static_cast<uid_t>(uid);
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<uid_t> OwnerOf(Endpoint4 client, Endpoint4 server, const std::string& table,
                              const std::string& table6) {
  std::ifstream rows(table), rows6(table6);
  if (!rows && !rows6)
    return absl::UnavailableError(table + ": cannot be read, so nobody knows whose a connection is");
  if (const auto uid = Find(rows, InTable(client), InTable(server)); uid.has_value()) return *uid;
  if (const auto uid = Find(rows6, InTable6(client), InTable6(server)); uid.has_value()) return *uid;
  return absl::NotFoundError(table + ": holds no connection of port " + std::to_string(client.port) +
                             " to port " + std::to_string(server.port));
}

}  // namespace retort::services::gateway
