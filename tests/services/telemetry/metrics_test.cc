#include "services/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <sstream>

#include "services/telemetry/metrics_server.h"

namespace retort::services {
namespace {

using testing::HasSubstr;
using testing::Not;

const BuildInfo kBuild{"0.1.0", "abc123"};

size_t SeriesOf(const std::string& text, const std::string& prefix) {
  std::istringstream lines(text);
  size_t count = 0;
  for (std::string line; std::getline(lines, line);) count += line.rfind(prefix, 0) == 0;
  return count;
}

TEST(MetricsTest, WhatIsKnownAtOnce) {
  Metrics metrics(kBuild);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("retort_build_info{commit=\"abc123\",version=\"0.1.0\"} 1"));
  EXPECT_THAT(text, HasSubstr("retort_rpc_in_flight 0"));
  EXPECT_THAT(text, HasSubstr("# TYPE retort_ledger_append_seconds histogram"));
  // A process without the ledger must not look like one whose checkpoint is of 1970.
  EXPECT_THAT(text, Not(HasSubstr("\nretort_ledger_last_checkpoint_timestamp_seconds ")));
  EXPECT_THAT(text, Not(HasSubstr("\nretort_ledger_appendable ")));
}

TEST(MetricsTest, ACallIsInFlightAndThenInItsBucket) {
  Metrics metrics(kBuild);
  metrics.CallBegan();
  metrics.CallBegan();
  EXPECT_THAT(metrics.Text(), HasSubstr("retort_rpc_in_flight 2"));
  metrics.CallEnded("/s/M", "OK", 0.004);
  metrics.CallEnded("/s/M", "OK", 7);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("retort_rpc_in_flight 0"));
  const std::string name =
      "retort_rpc_server_call_duration_seconds_bucket{grpc_code=\"OK\",grpc_method=\"/s/M\",le=\"";
  EXPECT_THAT(text, HasSubstr(name + "0.005\"} 1"));
  EXPECT_THAT(text, HasSubstr(name + "5\"} 1"));
  EXPECT_THAT(text, HasSubstr(name + "7.5\"} 2"));
  EXPECT_EQ(SeriesOf(text, name), 15u);  // fourteen bounds and +Inf
}

TEST(MetricsTest, LabelsAreBounded) {
  Metrics metrics(kBuild);
  for (int i = 0; i < 5000; ++i) {
    metrics.CallBegan();
    metrics.CallEnded("/invented/" + std::to_string(i), "OK", 0.1);
    metrics.SampleRecorded("t" + std::to_string(i), "allow", "p/r" + std::to_string(i));
    metrics.SampleRecorded("t1", "v" + std::to_string(i), "none");
  }
  const std::string text = metrics.Text();
  EXPECT_EQ(SeriesOf(text, "retort_rpc_server_call_duration_seconds_count"), Metrics::kMethodsMax + 1);
  EXPECT_THAT(text, HasSubstr("grpc_method=\"_OTHER\""));
  EXPECT_LE(SeriesOf(text, "retort_samples_total"), Metrics::kRulesMax + 10);
  EXPECT_THAT(text, HasSubstr("retort_samples_total{rule=\"_OTHER\",teacher=\"_OTHER\",verdict=\"allow\"}"));
}

TEST(MetricsTest, AHostileLabelStaysALabel) {
  Metrics metrics(kBuild);
  metrics.SampleRecorded("a\"} 1\nretort_forged 1", "deny", std::string(1000, 'x'));
  const std::string text = metrics.Text();
  EXPECT_EQ(SeriesOf(text, "retort_forged"), 0u);
  EXPECT_THAT(text, HasSubstr("rule=\"_OTHER\""));
}

TEST(MetricsTest, FiguresOfARole) {
  Metrics metrics(kBuild);
  metrics.SetLedger({.entries = 12, .appended = 5, .newest_us = 1'700'000'000'500'000, .appendable = true});
  metrics.SetLedger({.entries = 14, .appended = 7, .newest_us = 1'700'000'001'000'000, .appendable = false});
  metrics.SetJobs({{"QUEUED", 2}, {"TRAINING", 1}});
  metrics.SetJobs({{"TRAINING", 3}});
  metrics.JobBegan(61);
  metrics.TeacherTokens(10, 20);
  metrics.TeacherTokens(1, -5);
  metrics.LedgerVerifyFailed();
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("retort_ledger_tree_size 14"));
  EXPECT_THAT(text, HasSubstr("retort_ledger_entries_total 7"));
  EXPECT_THAT(text, HasSubstr("retort_ledger_last_checkpoint_timestamp_seconds 1700000001"));
  EXPECT_THAT(text, HasSubstr("retort_ledger_appendable 0"));
  EXPECT_THAT(text, HasSubstr("retort_jobs{state=\"QUEUED\"} 0"));
  EXPECT_THAT(text, HasSubstr("retort_jobs{state=\"TRAINING\"} 3"));
  EXPECT_THAT(text, HasSubstr("retort_job_queue_wait_seconds_bucket{le=\"60\"} 0"));
  EXPECT_THAT(text, HasSubstr("retort_job_queue_wait_seconds_bucket{le=\"300\"} 1"));
  EXPECT_THAT(text, HasSubstr("retort_teacher_tokens_total{direction=\"input\"} 11"));
  EXPECT_THAT(text, HasSubstr("retort_teacher_tokens_total{direction=\"output\"} 20"));
  EXPECT_THAT(text, HasSubstr("retort_ledger_verify_failures_total 1"));
}

TEST(MetricsServerTest, ServesMetricsAndNothingElse) {
  Metrics metrics(kBuild);
  int scrapes = 0;
  metrics.OnScrape([&] { metrics.SetReady(++scrapes > 1); });
  auto server = MetricsServer::Start("127.0.0.1:0", metrics);
  ASSERT_TRUE(server.ok()) << server.status();
  httplib::Client client("127.0.0.1", (*server)->port());
  auto answer = client.Get("/metrics");
  ASSERT_TRUE(answer) << httplib::to_string(answer.error());
  EXPECT_EQ(answer->status, 200);
  EXPECT_THAT(answer->body, HasSubstr("retort_ready 0"));
  EXPECT_THAT(client.Get("/metrics")->body, HasSubstr("retort_ready 1"));
  for (const char* path : {"/", "/etc/passwd", "/..%2f..%2fetc/passwd", "/metric"}) {
    auto other = client.Get(path);
    ASSERT_TRUE(other) << path;
    EXPECT_GE(other->status, 400) << path;
    EXPECT_THAT(other->body, Not(HasSubstr("root:"))) << path;
  }
  const auto put = client.Put("/metrics", "x", "text/plain");
  ASSERT_TRUE(put);
  EXPECT_GE(put->status, 400);
  const std::string taken = "127.0.0.1:" + std::to_string((*server)->port());
  const auto second = MetricsServer::Start(taken, metrics);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(taken));
}

}  // namespace
}  // namespace retort::services
