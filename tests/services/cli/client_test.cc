#include "services/cli/client.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

namespace retort::services {
namespace {

Environment With(std::map<std::string, std::string> values) {
  return [values](std::string_view name) -> std::optional<std::string> {
    auto found = values.find(std::string(name));
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

TEST(DefaultDevDirTest, PrefersTheNearestVariable) {
  EXPECT_EQ(DefaultDevDir(With({{"RETORT_DEV_DIR", "/a"}, {"XDG_STATE_HOME", "/b"}, {"HOME", "/c"}})), "/a");
  EXPECT_EQ(DefaultDevDir(With({{"XDG_STATE_HOME", "/b"}, {"HOME", "/c"}})), "/b/retort/dev");
  EXPECT_EQ(DefaultDevDir(With({{"HOME", "/c"}})), "/c/.local/state/retort/dev");
}

TEST(ResolveConnectionTest, FindsTheDevServer) {
  const std::string dir = testing::TempDir() + "/resolve_dev";
  std::filesystem::create_directories(dir);
  std::ofstream(dir + "/endpoint") << "127.0.0.1:7443\n";
  auto resolved = ResolveConnection({}, With({{"RETORT_DEV_DIR", dir}}));
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->server, "127.0.0.1:7443");
  EXPECT_EQ(resolved->tls.authorities, dir + "/ca.crt");
  EXPECT_EQ(resolved->tls.certificate, dir + "/client.crt");
  EXPECT_EQ(resolved->tls.private_key, dir + "/client.key");
}

TEST(ResolveConnectionTest, FlagBeatsVariable) {
  const Environment environment = With({{"RETORT_SERVER", "env:1"},
                                        {"RETORT_TLS_CA", "ca"},
                                        {"RETORT_TLS_CERT", "cert"},
                                        {"RETORT_TLS_KEY", "key"}});
  EXPECT_EQ(ResolveConnection({}, environment)->server, "env:1");
  ConnectionOptions given;
  given.server = "flag:2";
  given.tls.authorities = "mine";
  auto resolved = ResolveConnection(given, environment);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->server, "flag:2");
  EXPECT_EQ(resolved->tls.authorities, "mine");
  EXPECT_EQ(resolved->tls.certificate, "cert");
}

TEST(ResolveConnectionTest, NamesTheMissingFlag) {
  auto none = ResolveConnection({}, With({{"RETORT_DEV_DIR", "/nowhere"}}));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(none.status().message().find("--server"), std::string::npos);
  ConnectionOptions given;
  given.server = "host:1";
  given.tls.authorities = "ca";
  auto resolved = ResolveConnection(given, With({}));
  EXPECT_EQ(resolved.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(resolved.status().message().find("--tls-cert"), std::string::npos);
}

TEST(NewRequestIdTest, IsARandomVersion4Uuid) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string id = NewRequestId();
    ASSERT_EQ(id.size(), 36u);
    EXPECT_EQ(id[14], '4');
    EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos);
    for (size_t dash : {8, 13, 18, 23}) EXPECT_EQ(id[dash], '-');
    EXPECT_TRUE(seen.insert(id).second);
  }
}

}  // namespace
}  // namespace retort::services
