#include "services/gateway/socket_owner.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

namespace retort::services::gateway {
namespace {

constexpr char kHead[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
constexpr uint32_t kLoopback = 0x7f000001;

std::string WriteTable(const std::string& name, const std::string& rows) {
  const std::string path = testing::TempDir() + "/socket_owner_test." + std::to_string(getpid()) + "." + name;
  std::ofstream(path) << kHead << rows;
  return path;
}

TEST(SocketOwnerTest, FindsTheEndOfTheClient) {
  // Both ends of one connection are in the table; only the client's is asked for.
  const std::string table = WriteTable(
      "tcp",
      "   0: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
      "   1: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 2 1\n");
  const auto owner = OwnerOf({kLoopback, 0xc001}, {kLoopback, 8080}, table, "/nonexistent");
  ASSERT_TRUE(owner.ok()) << owner.status();
  EXPECT_EQ(*owner, 1000u);
}

TEST(SocketOwnerTest, FindsAClientWithAnIpv6Socket) {
  const std::string table6 = WriteTable("tcp6",
                                        "   0: 0000000000000000FFFF00000100007F:C001 "
                                        "0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 "
                                        "00:00000000 00000000  1001        0 2 1\n");
  const auto owner = OwnerOf({kLoopback, 0xc001}, {kLoopback, 8080}, WriteTable("none", ""), table6);
  ASSERT_TRUE(owner.ok()) << owner.status();
  EXPECT_EQ(*owner, 1001u);
}

TEST(SocketOwnerTest, RefusesOneThatIsNotEstablishedOrNotThere) {
  const std::string closing = WriteTable(
      "closing",
      "   0: 0100007F:C001 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 2 1\n");
  EXPECT_EQ(OwnerOf({kLoopback, 0xc001}, {kLoopback, 8080}, closing, closing).status().code(),
            absl::StatusCode::kNotFound);
  const std::string damaged =
      WriteTable("damaged", "   0: 0100007F:C001 0100007F:1F90 01 nothing\nnonsense\n");
  EXPECT_EQ(OwnerOf({kLoopback, 0xc001}, {kLoopback, 8080}, damaged, damaged).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(OwnerOf({kLoopback, 1}, {kLoopback, 2}, "/nonexistent", "/nonexistent").status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(SocketOwnerTest, KnowsARealConnection) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
            client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listener, raw, length), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(getsockname(listener, raw, &length), 0);
  ASSERT_EQ(connect(client, raw, length), 0);
  const Endpoint4 server{kLoopback, ntohs(address.sin_port)};
  ASSERT_EQ(getsockname(client, raw, &length), 0);
  const auto owner = OwnerOf({kLoopback, ntohs(address.sin_port)}, server);
  ASSERT_TRUE(owner.ok()) << owner.status();
  EXPECT_EQ(*owner, geteuid());
  close(client);
  close(listener);
}

}  // namespace
}  // namespace retort::services::gateway
