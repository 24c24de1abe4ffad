#include "teacher/api_key.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

namespace retort::teacher {
namespace {

class ApiKeyTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("api_key_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& content, mode_t mode) {
    const std::string path = folder_ / ("key" + std::to_string(count_++));
    std::ofstream(path, std::ios::binary) << content;
    chmod(path.c_str(), mode);
    return path;
  }
  absl::StatusCode CodeOf(const std::string& content, mode_t mode) {
    return ApiKey::FromFile(Write(content, mode)).status().code();
  }

  std::filesystem::path folder_;
  int count_ = 0;
};

constexpr auto kFailed = absl::StatusCode::kFailedPrecondition;

TEST_F(ApiKeyTest, ReadsAPrivateFile) {
  const auto key = ApiKey::FromFile(Write("sk-abc123\n", 0600));
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->Reveal(), "sk-abc123");
  EXPECT_EQ(CodeOf("sk-abc123\r\n", 0400), absl::StatusCode::kOk);
  EXPECT_EQ(CodeOf(std::string(4096, 'k'), 0400), absl::StatusCode::kOk);
}

TEST_F(ApiKeyTest, RefusesFilesThatOthersCanRead) {
  for (const mode_t mode : {0640, 0604, 0660, 0644, 0601}) {
    EXPECT_EQ(CodeOf("sk-abc123", mode), kFailed) << std::oct << mode;
  }
  const auto refused = ApiKey::FromFile(Write("sk-abc123", 0644));
  EXPECT_NE(refused.status().message().find("saw mode 0644, wanted 0600"), std::string::npos)
      << refused.status();
  EXPECT_EQ(refused.status().message().find("abc123"), std::string::npos);
}

// A Secret as Kubernetes mounts it: root's, readable by a group that an ordinary process is in.
TEST_F(ApiKeyTest, ReadsWhatRootHandsToAGroup) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to make a file of root's for somebody else";
  constexpr gid_t kGroup = 65532;
  const auto code_as_other = [&](mode_t mode) {
    const std::string path = Write("sk-abc123", mode);
    EXPECT_EQ(chown(path.c_str(), 0, kGroup), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (setgroups(0, nullptr) != 0 || setgid(kGroup) != 0 || setuid(kGroup) != 0) _exit(99);
      _exit(static_cast<int>(ApiKey::FromFile(path).status().code()));
    }
    int status = 0;
    waitpid(child, &status, 0);
    return static_cast<absl::StatusCode>(WEXITSTATUS(status));
  };
  EXPECT_EQ(code_as_other(0440), absl::StatusCode::kOk);
  EXPECT_EQ(code_as_other(0640), absl::StatusCode::kOk);
  for (const mode_t mode : {0444, 0460, 0450, 0644})
    EXPECT_EQ(code_as_other(mode), kFailed) << std::oct << mode;
}

TEST_F(ApiKeyTest, RefusesWhatIsNoKey) {
  EXPECT_EQ(CodeOf("", 0600), kFailed);
  EXPECT_EQ(CodeOf("\n", 0600), kFailed);
  EXPECT_EQ(CodeOf("sk-a\nX-Other: 1", 0600), kFailed);
  EXPECT_EQ(CodeOf("sk a", 0600), kFailed);
  EXPECT_EQ(CodeOf("sk-\xC3\xA9", 0600), kFailed);
  EXPECT_EQ(CodeOf(std::string(4097, 'k'), 0600), kFailed);
  EXPECT_EQ(CodeOf(std::string(1 << 20, 'k'), 0600), kFailed);
}

TEST_F(ApiKeyTest, RefusesWhatIsNoRegularFile) {
  EXPECT_EQ(ApiKey::FromFile(folder_ / "missing").status().code(), kFailed);
  EXPECT_EQ(ApiKey::FromFile(folder_).status().code(), kFailed);
  const std::string fifo = folder_ / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ApiKey::FromFile(fifo).status().code(), kFailed);
}

TEST_F(ApiKeyTest, ReadsTheEnvironment) {
  setenv("RETORT_TEST_KEY", "sk-env", 1);
  const auto key = ApiKey::FromEnvironment("RETORT_TEST_KEY");
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->Reveal(), "sk-env");
  setenv("RETORT_TEST_KEY", "", 1);
  EXPECT_EQ(ApiKey::FromEnvironment("RETORT_TEST_KEY").status().code(), kFailed);
  unsetenv("RETORT_TEST_KEY");
  EXPECT_EQ(ApiKey::FromEnvironment("RETORT_TEST_KEY").status().code(), kFailed);
}

TEST_F(ApiKeyTest, MovesWithoutLeavingACopy) {
  auto key = ApiKey::FromFile(Write("sk-abc123", 0600));
  ASSERT_TRUE(key.ok());
  const void* bytes = key->Reveal().data();
  ApiKey moved = *std::move(key);
  EXPECT_EQ(moved.Reveal(), "sk-abc123");
  EXPECT_EQ(moved.Reveal().data(), bytes);
  EXPECT_TRUE(key->Reveal().empty());
}

}  // namespace
}  // namespace retort::teacher
