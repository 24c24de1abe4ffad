#include "services/edge/filter.h"

#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include "retort/jobs/v1/jobs.pb.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using jobs::v1::Job;

const FilterFields& Fields() {
  static const FilterFields fields(
      *Job::descriptor(),
      {"name", "state", "create_time", "labels", "queue_position", "progress.loss", "progress.samples_done",
       "spec.extract_only", "spec.authorisations", "spec.student.name"});
  return fields;
}

Job Example() {
  Job job;
  job.set_name("projects/p/jobs/kitchen");
  job.set_state(Job::STATE_FAILED);
  google::protobuf::util::TimeUtil::FromString("2026-01-02T03:04:05Z", job.mutable_create_time());
  (*job.mutable_labels())["team"] = "cooks";
  (*job.mutable_labels())["cost-centre"] = "42";
  job.mutable_progress()->set_samples_done(40);
  job.mutable_progress()->set_loss(1.5);
  job.mutable_spec()->add_authorisations("letter-1");
  job.mutable_spec()->add_authorisations("letter-2");
  return job;
}

bool Fits(const std::string& text) {
  auto filter = Filter::Parse(text, Fields());
  EXPECT_TRUE(filter.ok()) << text << ": " << filter.status();
  return filter.ok() && filter->Matches(Example());
}

// The message of the refusal.
std::string RefusalOf(const std::string& text) {
  const auto filter = Filter::Parse(text, Fields());
  EXPECT_EQ(filter.status().code(), absl::StatusCode::kInvalidArgument) << text;
  EXPECT_EQ(ReasonOf(filter.status()), FILTER_INVALID) << text;
  return std::string(filter.status().message());
}

TEST(FilterTest, EmptyMatchesEverything) {
  EXPECT_TRUE(Fits(""));
  EXPECT_TRUE(Fits("  \t\n"));
  EXPECT_TRUE(Filter().Matches(Example()));
}

TEST(FilterTest, ComparesEachKindOfField) {
  EXPECT_TRUE(Fits("name = \"projects/p/jobs/kitchen\""));
  EXPECT_TRUE(Fits("name = projects/p/jobs/kitchen"));
  EXPECT_FALSE(Fits("name != 'projects/p/jobs/kitchen'"));
  EXPECT_TRUE(Fits("name > \"projects/p/jobs/a\" AND name < \"projects/p/jobs/z\""));
  EXPECT_TRUE(Fits("state = FAILED"));
  EXPECT_TRUE(Fits("state = STATE_FAILED"));
  EXPECT_TRUE(Fits("state != SUCCEEDED"));
  EXPECT_TRUE(Fits("progress.samples_done = 40"));
  EXPECT_TRUE(Fits("progress.samples_done>=40 AND progress.samples_done<41"));
  EXPECT_TRUE(Fits("progress.loss <= 1.5"));
  EXPECT_FALSE(Fits("progress.loss < 1.5"));
  EXPECT_TRUE(Fits("spec.extract_only = false"));
  EXPECT_TRUE(Fits("create_time = 2026-01-02T03:04:05Z"));
  EXPECT_TRUE(Fits("create_time > \"2026-01-02T04:04:04+01:00\""));
  EXPECT_FALSE(Fits("create_time < 2026-01-01T00:00:00Z"));
}

TEST(FilterTest, StarsStandForAnything) {
  EXPECT_TRUE(Fits("name = \"projects/p/*\""));
  EXPECT_TRUE(Fits("name = *kitchen"));
  EXPECT_TRUE(Fits("name = *jobs*"));
  EXPECT_FALSE(Fits("name = *attic"));
  EXPECT_TRUE(Fits("name != *attic"));
  EXPECT_NE(RefusalOf("name = a*b").find("at byte 8"), std::string::npos);
}

TEST(FilterTest, HasLooksIntoCollections) {
  EXPECT_TRUE(Fits("spec.authorisations:letter-2"));
  EXPECT_FALSE(Fits("spec.authorisations:letter-3"));
  EXPECT_TRUE(Fits("spec.authorisations:*"));
  EXPECT_TRUE(Fits("labels:team"));
  EXPECT_FALSE(Fits("labels:floor"));
  EXPECT_TRUE(Fits("labels.team = cooks"));
  EXPECT_TRUE(Fits("labels.cost-centre = 42"));
  EXPECT_TRUE(Fits("labels.team:*"));
  EXPECT_FALSE(Fits("labels.floor:*"));
  EXPECT_FALSE(Fits("labels.floor = 1"));
  EXPECT_TRUE(Fits("labels.floor != 1"));
  EXPECT_FALSE(Fits("spec.student.name:*"));
  EXPECT_TRUE(Fits("create_time:*"));
}

// AIP-160: OR binds tighter than AND.
TEST(FilterTest, OrBindsTighterThanAnd) {
  EXPECT_FALSE(Fits("state = FAILED OR state = QUEUED AND name = attic"));
  EXPECT_TRUE(Fits("state = FAILED OR (state = QUEUED AND name = attic)"));
  EXPECT_FALSE(Fits("name = attic AND state = QUEUED OR state = FAILED"));
}

TEST(FilterTest, NotAndMinusNegate) {
  EXPECT_TRUE(Fits("NOT state = QUEUED"));
  EXPECT_TRUE(Fits("-state = QUEUED"));
  EXPECT_TRUE(Fits("-(state = QUEUED OR name = attic)"));
  EXPECT_TRUE(Fits("NOT NOT state = FAILED"));
  EXPECT_FALSE(Fits("NOT (state = FAILED)"));
  EXPECT_TRUE(Fits("NOT -state = FAILED"));
}

TEST(FilterTest, QuotedTextMayHoldAnything) {
  Job job;
  job.set_name("a \"b\" AND (c)");
  auto filter = Filter::Parse("name = \"a \\\"b\\\" AND (c)\"", Fields());
  ASSERT_TRUE(filter.ok()) << filter.status();
  EXPECT_TRUE(filter->Matches(job));
}

TEST(FilterTest, SaysWhereItIsWrong) {
  EXPECT_NE(RefusalOf("nome = x").find("at byte 1: saw 'nome'"), std::string::npos);
  EXPECT_NE(RefusalOf("nome = x").find("spec.student.name"), std::string::npos) << "lists the fields";
  EXPECT_NE(RefusalOf("state = FAILED AND spec.prompts:a").find("at byte 20: saw 'spec.prompts'"),
            std::string::npos);
  EXPECT_NE(RefusalOf("state = BROKEN").find("at byte 9: saw 'BROKEN', wanted QUEUED, EXTRACTING"),
            std::string::npos);
  EXPECT_NE(RefusalOf("state < FAILED").find("at byte 7: saw '<'"), std::string::npos);
  EXPECT_NE(RefusalOf("progress.samples_done = many").find("at byte 25"), std::string::npos);
  EXPECT_NE(RefusalOf("progress.samples_done = 99999999999999999999").find("a whole number"),
            std::string::npos);
  EXPECT_NE(RefusalOf("create_time = yesterday").find("RFC 3339"), std::string::npos);
  EXPECT_NE(RefusalOf("labels = team").find("wanted : with this field"), std::string::npos);
  EXPECT_NE(RefusalOf("name").find("saw the end, wanted =, !="), std::string::npos);
  EXPECT_NE(RefusalOf("name =").find("saw the end, wanted a value"), std::string::npos);
  EXPECT_NE(RefusalOf("name = \"open").find("closing quotation mark"), std::string::npos);
  EXPECT_NE(RefusalOf("(state = FAILED").find("wanted AND, OR or )"), std::string::npos);
  EXPECT_NE(RefusalOf("state = FAILED)").find("at byte 15: saw ')'"), std::string::npos);
  EXPECT_NE(RefusalOf("state = FAILED name = x").find("at byte 16: saw 'name', wanted AND, OR or the end"),
            std::string::npos);
  EXPECT_NE(RefusalOf("AND").find("at byte 1"), std::string::npos);
  EXPECT_NE(RefusalOf("state = FAILED OR").find("saw the end"), std::string::npos);
}

TEST(FilterTest, IsBounded) {
  EXPECT_NE(RefusalOf(std::string(2049, ' ')).find("at most 2048 bytes"), std::string::npos);
  const auto nested = [](int depth) {
    return std::string(depth, '(') + "state = FAILED" + std::string(depth, ')');
  };
  EXPECT_TRUE(Fits(nested(kFilterDepthMax)));
  EXPECT_NE(RefusalOf(nested(kFilterDepthMax + 1)).find("at most 16"), std::string::npos);
  EXPECT_NE(RefusalOf(std::string(1000, '-') + "state = FAILED").find("at most 16"), std::string::npos);
  EXPECT_NE(RefusalOf(std::string(2000, '(')).find("at most 16"), std::string::npos);
}

}  // namespace
}  // namespace retort::services
