#include "services/audit/cost_report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace retort::services {
namespace {

using ledger::FixedDecimal;

// An attempt of 100 s a step at 3.60 an hour, which is 0.10 a step, and 0.01 kWh a step at 0.50.
AttemptEntry Attempt(const std::string& run, int64_t attempt, const char* outcome, int64_t first,
                     int64_t last) {
  const int64_t steps = last - first;
  AttemptEntry entry;
  entry.entry = static_cast<uint64_t>(10 + attempt);
  entry.job_uid = "uid";
  entry.run = run;
  ledger::TrainingUsage& usage = entry.usage;
  usage.attempt = attempt;
  usage.outcome = outcome;
  usage.first_step = first;
  usage.last_step = last;
  usage.tokens = 1000 * steps;
  usage.begun_time = usage.ended_time = "2026-01-02T03:04:05.000006Z";
  usage.device = "cpu";
  usage.device_seconds = std::to_string(100 * steps);
  usage.energy_source = "rapl";
  usage.energy_kwh = FixedDecimal::FromNanos(10'000'000 * steps).ToString();
  usage.currency = "EUR";
  usage.price_device_hour = "3.6";
  usage.price_kwh = "0.5";
  EXPECT_TRUE(ledger::FillCosts(usage).ok());
  EXPECT_TRUE(ledger::CheckUsage(usage).ok()) << ledger::CheckUsage(usage);
  return entry;
}

TEST(CostReportTest, ShowsTheFinalRunBesideEverything) {
  // Killed at step 57 with a checkpoint at 50; stopped at 80; finished at 100. And a baseline of 100 steps.
  const auto report = BuildCostReport(
      {Attempt("logits", 1, "lost", 0, 57), Attempt("logits", 2, "stopped", 50, 80),
       Attempt("logits", 3, "finished", 80, 100), Attempt("text_only", 1, "finished", 0, 100)},
      "uid", "logits");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->attempts[0].kept_steps, 50);
  EXPECT_EQ(report->attempts[0].repeated_steps, 7);
  EXPECT_EQ(report->attempts[1].repeated_steps, 0);
  EXPECT_EQ(report->final_cost.attempts, 3);
  EXPECT_EQ(report->final_cost.steps, 100);
  EXPECT_EQ(report->final_cost.tokens, 100'000);
  EXPECT_EQ(report->final_cost.device_seconds.ToString(), "10000");
  EXPECT_EQ(report->final_cost.energy_kwh.ToString(), "1");
  EXPECT_EQ(report->final_cost.device_cost.at("EUR").ToString(), "10");
  EXPECT_EQ(report->final_cost.energy_cost.at("EUR").ToString(), "0.5");
  EXPECT_EQ(report->final_cost.total.at("EUR").ToString(), "10.5");
  EXPECT_EQ(report->everything.attempts, 4);
  EXPECT_EQ(report->everything.steps, 207);
  EXPECT_EQ(report->everything.device_seconds.ToString(), "20700");
  EXPECT_EQ(report->everything.total.at("EUR").ToString(), "21.735");
}

// After a fall back to an older checkpoint the work of several attempts was done again.
TEST(CostReportTest, AFallBackRepeatsWhatLayAbove) {
  const auto report =
      BuildCostReport({Attempt("logits", 1, "failed", 0, 30), Attempt("logits", 2, "failed", 30, 40),
                       Attempt("logits", 3, "finished", 20, 40)},
                      "uid", "logits");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->attempts[0].kept_steps, 20);
  EXPECT_EQ(report->attempts[1].kept_steps, 0);
  EXPECT_EQ(report->attempts[1].repeated_steps, 10);
  EXPECT_EQ(report->final_cost.attempts, 2);
  EXPECT_EQ(report->final_cost.steps, 40);
}

TEST(CostReportTest, MissingFiguresStayMissing) {
  AttemptEntry silent = Attempt("logits", 2, "finished", 10, 20);
  silent.usage.energy_source = "none";
  silent.usage.energy_kwh = silent.usage.energy_cost = silent.usage.device_cost = "";
  silent.usage.price_device_hour = silent.usage.price_kwh = silent.usage.currency = "";
  ASSERT_TRUE(ledger::CheckUsage(silent.usage).ok());
  const auto report = BuildCostReport({Attempt("logits", 1, "stopped", 0, 10), silent}, "uid", "logits");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->everything.without_energy, 1);
  EXPECT_EQ(report->everything.without_device_price, 1);
  EXPECT_EQ(EnergyText(report->everything), "0.100000 (rapl, 1 attempt not measured)");
  EXPECT_NE(CostText(*report).find("1 of 2 attempts have no price"), std::string::npos) << CostText(*report);
  const auto only = BuildCostReport({silent}, "", "");
  ASSERT_TRUE(only.ok());
  EXPECT_EQ(EnergyText(only->everything), "not measured");
  EXPECT_EQ(MoneyText(only->everything.total), "-");
  EXPECT_FALSE(only->has_final);
}

TEST(CostReportTest, CurrenciesAreNotAdded) {
  AttemptEntry dollars = Attempt("logits", 2, "finished", 10, 20);
  dollars.usage.currency = "USD";
  const auto report = BuildCostReport({Attempt("logits", 1, "stopped", 0, 10), dollars}, "uid", "logits");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(MoneyText(report->everything.total), "EUR 1.0500 + USD 1.0500");
}

TEST(CostReportTest, SumsOutOfRangeAreRefused) {
  AttemptEntry huge = Attempt("logits", 1, "stopped", 0, 1);
  huge.usage.device_seconds = "9000000000";
  EXPECT_EQ(BuildCostReport({huge, huge}, "uid", "logits").status().code(), absl::StatusCode::kOutOfRange);
}

TEST(CostReportTest, RoundsHalfUpForPeople) {
  EXPECT_EQ(Rounded(*FixedDecimal::Parse("1.25"), 1), "1.3");
  EXPECT_EQ(Rounded(*FixedDecimal::Parse("1.2499"), 1), "1.2");
  EXPECT_EQ(Rounded(*FixedDecimal::Parse("0.05"), 4), "0.0500");
  EXPECT_EQ(Rounded(*FixedDecimal::Parse("9.99"), 1), "10.0");
  EXPECT_EQ(Rounded(*FixedDecimal::Parse("2.5"), 0), "3");
  EXPECT_EQ(Rounded(*FixedDecimal::Parse("0.123456789"), 9), "0.123456789");
}

TEST(CostReportTest, JsonHasExactDecimals) {
  const auto report = BuildCostReport({Attempt("logits", 1, "finished", 0, 3)}, "uid", "logits");
  ASSERT_TRUE(report.ok()) << report.status();
  const auto json = nlohmann::json::parse(CostJson(*report));
  EXPECT_EQ(json["final"]["run"], "logits");
  EXPECT_EQ(json["final"]["cost"]["EUR"], "0.315");
  EXPECT_EQ(json["everything"]["device_seconds"], "300");
  EXPECT_EQ(json["everything"]["energy_sources"][0], "rapl");
  EXPECT_EQ(json["attempts"][0]["outcome"], "finished");
  EXPECT_EQ(json["attempts"][0]["kept_steps"], 3);
}

}  // namespace
}  // namespace retort::services
