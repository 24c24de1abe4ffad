#include "services/ledger/project_logs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "services/edge/status.h"

namespace retort::services {
namespace {

class ProjectLogsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/project_logs_test." + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
    key_ = std::make_unique<ledger::SigningKey>(*ledger::SigningKey::Generate("retort.example/log"));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  ProjectLogsOptions Options() const {
    ProjectLogsOptions options;
    options.data_dir = folder_ + "/ledger";
    options.deployment = "retort.example";
    options.log_key = key_.get();
    options.trusted_keys = {{"teacher", ledger::SigningKey::Generate("t")->vkey()}};
    options.now_us = [] { return int64_t{1'700'000'000'000'000}; };
    return options;
  }

  std::string folder_;
  std::unique_ptr<ledger::SigningKey> key_;
};

TEST_F(ProjectLogsTest, MakesALogOnDemandAndFindsItAgain) {
  ProjectLogs logs(Options());
  ASSERT_EQ(logs.OpenAll(), absl::OkStatus());
  EXPECT_EQ(logs.Get("demo", false).status().code(), absl::StatusCode::kNotFound);
  const auto made = logs.Get("demo", true);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ((*made)->origin(), "retort.example/demo");
  EXPECT_EQ(*logs.Get("demo", false), *made);
}

TEST_F(ProjectLogsTest, OpensWhatIsOnDisk) {
  uint64_t size = 0;
  {
    ProjectLogs logs(Options());
    ASSERT_EQ(logs.OpenAll(), absl::OkStatus());
    size = (*logs.Get("demo", true))->CheckpointNote().checkpoint.size;
  }
  ProjectLogs again(Options());
  ASSERT_EQ(again.OpenAll(), absl::OkStatus());
  const auto log = again.Get("demo", false);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_GE((*log)->CheckpointNote().checkpoint.size, size);
}

TEST_F(ProjectLogsTest, CountsWhatItHoldsAndWhatCame) {
  uint64_t size = 0;
  {
    ProjectLogs logs(Options());
    ASSERT_EQ(logs.OpenAll(), absl::OkStatus());
    EXPECT_EQ(logs.CountEntries().all, 0u);
    size = (*logs.Get("demo", true))->CheckpointNote().checkpoint.size;
    EXPECT_GT(size, 0u);  // the keys that it trusts
    EXPECT_EQ(logs.CountEntries().all, size);
    EXPECT_EQ(logs.CountEntries().appended, size);
    EXPECT_EQ(logs.CheckAppendable(), absl::OkStatus());
  }
  ProjectLogs again(Options());
  ASSERT_EQ(again.OpenAll(), absl::OkStatus());
  EXPECT_GE(again.CountEntries().all, size);
  EXPECT_EQ(again.CountEntries().appended, 0u);
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(again.CheckAppendable().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ProjectLogsTest, AnotherVaultKeyIsRefusedAtStart) {
  {
    ProjectLogs logs(Options());
    ASSERT_EQ(logs.OpenAll(), absl::OkStatus());
    ASSERT_TRUE(logs.Get("demo", true).ok());
  }
  auto options = Options();
  options.vault_key.fill(7);
  ProjectLogs other(std::move(options));
  const auto status = other.OpenAll();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("demo"), std::string::npos) << status;
}

TEST_F(ProjectLogsTest, VaultKeyFilesAreChecked) {
  const std::string path = folder_ + "/vault.key";
  EXPECT_EQ(LoadVaultKey(path).status().code(), absl::StatusCode::kNotFound);
  std::ofstream(path) << std::string(64, 'a') << "\n";
  chmod(path.c_str(), 0644);
  EXPECT_EQ(LoadVaultKey(path).status().code(), absl::StatusCode::kFailedPrecondition);
  chmod(path.c_str(), 0600);
  ASSERT_TRUE(LoadVaultKey(path).ok());
  EXPECT_EQ((*LoadVaultKey(path))[31], 0xaa);
  for (const std::string& bad :
       {std::string(63, 'a'), std::string(66, 'a'), std::string(64, 'z'), std::string()}) {
    std::ofstream(path) << bad;
    EXPECT_EQ(LoadVaultKey(path).status().code(), absl::StatusCode::kInvalidArgument) << bad.size();
  }
}

}  // namespace
}  // namespace retort::services
