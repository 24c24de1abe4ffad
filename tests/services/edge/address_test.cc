#include "services/edge/address.h"

#include <gtest/gtest.h>

#include "services/edge/disk_room.h"

namespace retort::services {
namespace {

TEST(AddressTest, HostAndPort) {
  for (const char* good :
       {"127.0.0.1:7443", "0.0.0.0:0", "ledger.retort.svc:65535", "[::1]:7443", "[::]:1", "a_b-c:80"}) {
    EXPECT_TRUE(IsAddress(good)) << good;
  }
  for (const char* bad : {"", ":", "host", "host:", ":7443", "host:65536", "host:-1", "host:7443x",
                          "::1:7443", "[]:1", "ho st:1", "http://host:1", "host:999999999999", "host\n:1"}) {
    EXPECT_FALSE(IsAddress(bad)) << bad;
  }
}

TEST(AddressTest, AWildcardIsReachedOnLocalhost) {
  EXPECT_EQ(AddressWithin("0.0.0.0:7443"), "localhost:7443");
  EXPECT_EQ(AddressWithin("[::]:7443"), "localhost:7443");
  EXPECT_EQ(AddressWithin("10.0.0.5:7443"), "10.0.0.5:7443");
  EXPECT_EQ(AddressWithin("[::1]:7443"), "[::1]:7443");
}

TEST(DiskRoomTest, AFolderThatIsThereAndOneThatIsNot) {
  EXPECT_EQ(CheckDiskRoom(testing::TempDir()), absl::OkStatus());
  const absl::Status absent = CheckDiskRoom("/nowhere/at/all");
  EXPECT_EQ(absent.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(absent.message().find("/nowhere/at/all"), std::string::npos);
  // /sys takes no files: it has no room, whoever asks.
  EXPECT_EQ(CheckDiskRoom("/sys").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace retort::services
