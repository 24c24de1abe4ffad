#include "services/cli/output.h"

#include <gtest/gtest.h>

#include <sstream>

#include "retort/jobs/v1/jobs.pb.h"

namespace retort::services {
namespace {

TEST(TableTest, AlignsColumns) {
  Table table({"NAME", "N"}, {1});
  table.Add({"a", "7"});
  table.Add({"longer", "1234"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "NAME       N\na          7\nlonger  1234\n");
}

TEST(TableTest, CellsCannotMoveTheCursor) {
  Table table({"NAME"});
  table.Add({"a\x1b[31mb\nc\x7f"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "NAME\na?[31mb c?\n");
}

TEST(ToJsonTest, KeepsFieldNames) {
  retort::jobs::v1::Job job;
  job.set_name("projects/p/jobs/j");
  job.mutable_progress()->set_samples_done(3);
  const std::string json = ToJson(job);
  EXPECT_NE(json.find("\"samples_done\": \"3\""), std::string::npos) << json;
}

TEST(JsonItemsTest, IsOneObject) {
  EXPECT_EQ(JsonItems({}), "{\"items\":[]}\n");
  EXPECT_EQ(JsonItems({"1", "2"}), "{\"items\":[\n1,\n2]}\n");
}

TEST(DecimalTest, RoundsAndPads) {
  EXPECT_EQ(Decimal(1.25, 1), "1.2");
  EXPECT_EQ(Decimal(3, 3), "3.000");
  EXPECT_EQ(Hex(std::string("\x00\xab", 2)), "00ab");
}

}  // namespace
}  // namespace retort::services
