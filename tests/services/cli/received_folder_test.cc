#include "services/cli/received_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace retort::services {
namespace {

namespace fs = std::filesystem;

class ReceivedFolderTest : public testing::Test {
 protected:
  ReceivedFolderTest() {
    base_ = testing::TempDir() + "/received_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(base_);
    fs::create_directories(base_);
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  // Files and folders directly below the base.
  size_t Count() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(base_), fs::directory_iterator()));
  }

  std::string base_;
};

TEST_F(ReceivedFolderTest, AppearsWhenComplete) {
  auto folder = ReceivedFolder::Create(base_ + "/pack");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE((*folder)->Write("", "a/b", "one ", false).ok());
  EXPECT_TRUE((*folder)->Write("", "a/b", "two", true).ok());
  EXPECT_TRUE((*folder)->Write("student/", "empty", "", true).ok());
  EXPECT_FALSE(fs::exists(base_ + "/pack"));
  ASSERT_TRUE((*folder)->Finish().ok());
  EXPECT_EQ(Read(base_ + "/pack/a/b"), "one two");
  EXPECT_TRUE(fs::exists(base_ + "/pack/student/empty"));
  EXPECT_EQ(Count(), 1u);
}

TEST_F(ReceivedFolderTest, LeavesNothingWhenAbandoned) {
  {
    auto folder = ReceivedFolder::Create(base_ + "/pack");
    ASSERT_TRUE(folder.ok());
    EXPECT_TRUE((*folder)->Write("", "a", "one", false).ok());
    EXPECT_EQ((*folder)->Finish().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(Count(), 0u);
}

// `--out student`, as people type it: no folder is named, so there is none to make first.
TEST_F(ReceivedFolderTest, TakesANameInTheCurrentFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(base_);
  auto folder = ReceivedFolder::Create("pack");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE((*folder)->Write("", "a", "one", true).ok());
  EXPECT_TRUE((*folder)->Finish().ok());
  fs::current_path(before);
  EXPECT_EQ(Read(base_ + "/pack/a"), "one");
}

TEST_F(ReceivedFolderTest, SaysThatTheDiskRefuses) {
  std::ofstream(base_ + "/file") << "x";
  const absl::Status status = ReceivedFolder::Create(base_ + "/file/pack").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("cannot make"), std::string::npos) << status;
}

TEST_F(ReceivedFolderTest, NeverOverwrites) {
  fs::create_directory(base_ + "/pack");
  EXPECT_EQ(ReceivedFolder::Create(base_ + "/pack").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReceivedFolder::Create(base_ + "/pack/").status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(ReceivedFolderTest, RefusesPathsThatLeave) {
  auto folder = ReceivedFolder::Create(base_ + "/pack");
  ASSERT_TRUE(folder.ok());
  for (const std::string path :
       {"", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a/", "a\nb"}) {
    EXPECT_EQ((*folder)->Write("", path, "x", true).code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_EQ((*folder)->Write("", std::string("a\0b", 3), "x", true).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*folder)->Write("", std::string(600, 'a'), "x", true).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ReceivedFolderTest, RefusesMixedOrRepeatedFiles) {
  auto folder = ReceivedFolder::Create(base_ + "/pack");
  ASSERT_TRUE(folder.ok());
  EXPECT_TRUE((*folder)->Write("", "a", "x", false).ok());
  EXPECT_EQ((*folder)->Write("", "b", "x", true).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE((*folder)->Write("", "a", "x", true).ok());
  EXPECT_EQ((*folder)->Write("", "a", "x", true).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services
