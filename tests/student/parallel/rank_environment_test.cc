#include "student/parallel/rank_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace retort::student {
namespace {

using ::testing::HasSubstr;

// The problem, or "rank/world/local source".
std::string Read(const std::map<std::string, std::string>& variables) {
  RankEnvironment result;
  const std::string problem = ReadRankEnvironment(
      [&](const char* name) {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      &result);
  if (!problem.empty()) return problem;
  return std::to_string(result.rank) + "/" + std::to_string(result.world) + "/" +
         std::to_string(result.local_rank) + (result.mpirun ? " mpirun: " : " ") + result.source;
}

TEST(RankEnvironmentTest, AloneWithoutVariables) {
  EXPECT_EQ(Read({}), "0/1/0 ");
}

TEST(RankEnvironmentTest, ReadsOpenMpi) {
  EXPECT_EQ(Read({{"OMPI_COMM_WORLD_RANK", "3"},
                  {"OMPI_COMM_WORLD_SIZE", "8"},
                  {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}}),
            "3/8/1 mpirun: OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE");
}

TEST(RankEnvironmentTest, ReadsOwnVariables) {
  EXPECT_EQ(Read({{"RETORT_RANK", "0"}, {"RETORT_WORLD_SIZE", "2"}}),
            "0/2/0 RETORT_RANK and RETORT_WORLD_SIZE");
}

TEST(RankEnvironmentTest, ReadsIndexedJob) {
  EXPECT_EQ(Read({{"JOB_COMPLETION_INDEX", "1"}, {"RETORT_WORLD_SIZE", "4"}, {"RETORT_LOCAL_RANK", "0"}}),
            "1/4/0 JOB_COMPLETION_INDEX and RETORT_WORLD_SIZE");
}

TEST(RankEnvironmentTest, LaunchersThatAgreeAreAccepted) {
  EXPECT_EQ(Read({{"JOB_COMPLETION_INDEX", "1"}, {"RETORT_RANK", "1"}, {"RETORT_WORLD_SIZE", "4"}}),
            "1/4/0 RETORT_RANK and RETORT_WORLD_SIZE");
}

TEST(RankEnvironmentTest, HalfSetIsRefused) {
  EXPECT_THAT(Read({{"OMPI_COMM_WORLD_RANK", "3"}}),
              HasSubstr("OMPI_COMM_WORLD_RANK=3, OMPI_COMM_WORLD_SIZE not set; wanted both or neither"));
  EXPECT_THAT(Read({{"OMPI_COMM_WORLD_SIZE", "3"}}), HasSubstr("OMPI_COMM_WORLD_RANK not set"));
  EXPECT_THAT(Read({{"RETORT_RANK", "3"}}), HasSubstr("RETORT_WORLD_SIZE not set; wanted both or neither"));
  EXPECT_THAT(Read({{"RETORT_WORLD_SIZE", "3"}}), HasSubstr("RETORT_RANK not set"));
  EXPECT_THAT(Read({{"JOB_COMPLETION_INDEX", "0"}}),
              HasSubstr("JOB_COMPLETION_INDEX=0, RETORT_WORLD_SIZE not set; wanted both or neither"));
}

TEST(RankEnvironmentTest, LaunchersThatDisagreeAreRefused) {
  EXPECT_THAT(
      Read({{"OMPI_COMM_WORLD_RANK", "1"},
            {"OMPI_COMM_WORLD_SIZE", "4"},
            {"RETORT_RANK", "2"},
            {"RETORT_WORLD_SIZE", "4"}}),
      HasSubstr("OMPI_COMM_WORLD_RANK=1, OMPI_COMM_WORLD_SIZE=4 and RETORT_RANK=2, RETORT_WORLD_SIZE=4; "
                "wanted launchers that agree"));
  EXPECT_THAT(Read({{"JOB_COMPLETION_INDEX", "1"}, {"RETORT_RANK", "0"}, {"RETORT_WORLD_SIZE", "4"}}),
              HasSubstr("wanted launchers that agree"));
}

TEST(RankEnvironmentTest, NumbersOutOfRangeAreRefused) {
  EXPECT_THAT(Read({{"RETORT_RANK", "4"}, {"RETORT_WORLD_SIZE", "4"}}), HasSubstr("a rank below it"));
  EXPECT_THAT(Read({{"RETORT_RANK", "0"}, {"RETORT_WORLD_SIZE", "0"}}), HasSubstr("a size of at least 1"));
  EXPECT_THAT(Read({{"RETORT_RANK", "-1"}, {"RETORT_WORLD_SIZE", "4"}}),
              HasSubstr("RETORT_RANK=-1; wanted a number"));
  EXPECT_THAT(Read({{"RETORT_RANK", "1x"}, {"RETORT_WORLD_SIZE", "4"}}),
              HasSubstr("RETORT_RANK=1x; wanted a number"));
  EXPECT_THAT(Read({{"RETORT_RANK", ""}, {"RETORT_WORLD_SIZE", "4"}}),
              HasSubstr("RETORT_RANK=; wanted a number"));
  EXPECT_THAT(Read({{"RETORT_RANK", "1"}, {"RETORT_WORLD_SIZE", "257"}}), HasSubstr("0 to 256"));
}

}  // namespace
}  // namespace retort::student
