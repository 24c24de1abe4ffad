#include "services/cli/cli.h"

#include <gtest/gtest.h>

#include <fstream>

namespace retort::services {
namespace {

TEST(DidYouMeanTest, FindsTheNearestName) {
  const std::vector<std::string> names = {"job", "ledger", "policy", "student"};
  EXPECT_EQ(DidYouMean("jbo", {"job"}), "");  // two edits in three letters are no guess
  EXPECT_EQ(DidYouMean("jobs", names), "job");
  EXPECT_EQ(DidYouMean("legder", names), "ledger");
  EXPECT_EQ(DidYouMean("polcy", names), "policy");
  EXPECT_EQ(DidYouMean("zzz", names), "");
}

TEST(CliTest, FullNameKeepsFullNames) {
  Cli cli;
  cli.project = "kitchen";
  EXPECT_EQ(cli.FullName("jobs", "a"), "projects/kitchen/jobs/a");
  EXPECT_EQ(cli.FullName("jobs", "projects/other/jobs/a"), "projects/other/jobs/a");
}

TEST(ReadVkeyTest, TakesTextOrFile) {
  EXPECT_EQ(ReadVkey("name+0a0b0c0d+AQID").value(), "name+0a0b0c0d+AQID");
  const std::string path = testing::TempDir() + "/log.vkey";
  std::ofstream(path) << "name+0a0b0c0d+AQID\n";
  EXPECT_EQ(ReadVkey(path).value(), "name+0a0b0c0d+AQID");
  EXPECT_EQ(ReadVkey("missing.vkey").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::services
