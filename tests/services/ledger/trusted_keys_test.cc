#include "services/ledger/trusted_keys.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace retort::services {
namespace {

namespace fs = std::filesystem;

class TrustedKeysTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/trusted_keys_test." + std::to_string(getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  absl::StatusCode Code() const { return LoadTrustedKeys(folder_, log_).status().code(); }

  std::string folder_;
  const ledger::SigningKey log_ = *ledger::SigningKey::Generate("retort/log");
  const std::string teacher_ = ledger::SigningKey::Generate("retort/teacher")->vkey();
  const std::string anna_ = ledger::SigningKey::Generate("retort/anna")->vkey();
  const std::string bert_ = ledger::SigningKey::Generate("retort/bert")->vkey();
};

TEST_F(TrustedKeysTest, ReadsAMountedConfigMap) {
  // As the kubelet mounts one: names that lead through a folder that it swaps.
  fs::create_directories(folder_ + "/..2026_01_31");
  fs::create_symlink("..2026_01_31", folder_ + "/..data");
  std::ofstream(folder_ + "/..2026_01_31/teacher.vkey") << teacher_ << "\n";
  fs::create_symlink("..data/teacher.vkey", folder_ + "/teacher.vkey");
  Write("reviewer.vkey", anna_ + "\n" + bert_);
  Write("log.vkey", log_.vkey() + "\n");
  const auto keys = LoadTrustedKeys(folder_, log_);
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 3u);
  EXPECT_EQ((*keys)[0].role + " " + (*keys)[0].vkey, "reviewer " + anna_);
  EXPECT_EQ((*keys)[1].role + " " + (*keys)[1].vkey, "reviewer " + bert_);
  EXPECT_EQ((*keys)[2].role + " " + (*keys)[2].vkey, "teacher " + teacher_);
}

TEST_F(TrustedKeysTest, KeysOfAnotherInstallationAreRefused) {
  Write("teacher.vkey", teacher_);
  Write("log.vkey", anna_);
  EXPECT_EQ(Code(), absl::StatusCode::kFailedPrecondition);
  Write("log.vkey", log_.vkey() + "\n" + anna_);
  EXPECT_EQ(Code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrustedKeysTest, SaysWhatIsWrongWithTheFolder) {
  EXPECT_EQ(Code(), absl::StatusCode::kInvalidArgument);  // empty
  Write("log.vkey", log_.vkey());
  EXPECT_EQ(Code(), absl::StatusCode::kInvalidArgument);  // no key of a role
  Write("teacher.vkey", "\n");
  EXPECT_EQ(Code(), absl::StatusCode::kInvalidArgument);
  Write("teacher.vkey", teacher_);
  EXPECT_EQ(Code(), absl::StatusCode::kOk);
  Write("teacher.txt", teacher_);
  EXPECT_EQ(Code(), absl::StatusCode::kInvalidArgument);
  folder_ += "/none";
  EXPECT_EQ(Code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::services
