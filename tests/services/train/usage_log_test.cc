#include "services/train/usage_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "ledger/uuid.h"
#include "services/train/account.h"

namespace retort::train {
namespace {

class UsageLogTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "usage_log_" + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    run_.project = "projects/p";
    run_.job = "projects/p/jobs/j";
    run_.job_uid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    run_.run = "logits";
    run_.dataset_entry = 9;
    run_.manifest_sha256 = std::string(64, 'a');
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  UsageLog Open() {
    auto log = UsageLog::Open(folder_, run_);
    EXPECT_TRUE(log.ok()) << log.status();
    return *std::move(log);
  }
  static ledger::TrainingUsage Usage(int64_t attempt, const char* outcome = "lost") {
    ledger::TrainingUsage usage;
    usage.attempt = attempt;
    usage.outcome = outcome;
    usage.last_step = 4;
    usage.begun_time = usage.ended_time = "2026-01-02T03:04:05.000006Z";
    usage.device = "cpu";
    usage.device_seconds = "1.5";
    usage.energy_source = "none";
    return usage;
  }
  std::string Path(const std::string& name) const { return folder_ + "/usage/" + name; }

  std::string folder_;
  ledger::TrainingStatement run_;
};

TEST_F(UsageLogTest, KeepsWhatWasWritten) {
  {
    UsageLog log = Open();
    EXPECT_EQ(log.last_attempt(), 0);
    ASSERT_TRUE(log.Write(Usage(1)).ok());
    ASSERT_TRUE(log.Write(Usage(1, "failed")).ok());
    ASSERT_TRUE(log.Write(Usage(2)).ok());
  }
  UsageLog log = Open();
  EXPECT_EQ(log.last_attempt(), 2);
  EXPECT_EQ(log.pending(), (std::vector<int64_t>{1, 2}));
  const auto first = log.Read(1);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->phase, "usage");
  EXPECT_EQ(first->usage.outcome, "failed");
  EXPECT_EQ(first->request_id, UsageRequestId(run_.job_uid, "logits", 1));
  EXPECT_EQ(first->dataset_entry, 9);
}

// The bytes that go to the ledger are the bytes on disk, however often they are read.
TEST_F(UsageLogTest, ReadsTheSameBytesAgain) {
  UsageLog log = Open();
  ASSERT_TRUE(log.Write(Usage(1)).ok());
  std::ifstream in(Path("attempt-000001.json"));
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(log.Read(1)->ToJson(), bytes);
}

TEST_F(UsageLogTest, MarksWhatTheLedgerHas) {
  UsageLog log = Open();
  ASSERT_TRUE(log.Write(Usage(1)).ok());
  log.MarkAppended(1);
  EXPECT_TRUE(log.pending().empty());
  EXPECT_EQ(log.last_attempt(), 1);
  EXPECT_TRUE(std::filesystem::exists(Path("attempt-000001.appended.json")));
}

TEST_F(UsageLogTest, IsForOneProcess) {
  const UsageLog log = Open();
  EXPECT_EQ(UsageLog::Open(folder_, run_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(UsageLogTest, LeavesOtherFilesAlone) {
  { Open(); }
  for (const char* name : {"attempt-1.json", "attempt-000000.json", "attempt-00000x.json",
                           "attempt-000001.json.partial", "notes.txt", "attempt-+00001.json"}) {
    std::ofstream(Path(name)) << "x";
  }
  EXPECT_TRUE(Open().pending().empty());
}

TEST_F(UsageLogTest, DamagedRecordsAreNamed) {
  {
    UsageLog log = Open();
    ASSERT_TRUE(log.Write(Usage(1)).ok());
  }
  for (const std::string& bytes : {std::string(), std::string("{}"), std::string(100'000, 'x')}) {
    std::ofstream(Path("attempt-000001.json"), std::ios::trunc) << bytes;
    const auto status = UsageLog::Open(folder_, run_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_NE(status.message().find("attempt-000001.json"), std::string::npos) << status;
  }
}

TEST_F(UsageLogTest, RecordsOfAnotherAttemptOrRunAreRefused) {
  {
    UsageLog log = Open();
    ASSERT_TRUE(log.Write(Usage(1)).ok());
  }
  std::filesystem::copy(Path("attempt-000001.json"), Path("attempt-000002.json"));
  EXPECT_EQ(UsageLog::Open(folder_, run_).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove(Path("attempt-000002.json"));
  run_.dataset_entry = 10;
  const auto status = UsageLog::Open(folder_, run_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("dataset_entry is 9; wanted 10"), std::string::npos) << status;
}

TEST_F(UsageLogTest, SaysWhenTheDiskRefuses) {
  std::ofstream(folder_) << "a file where the folder should be";
  EXPECT_EQ(UsageLog::Open(folder_, run_).status().code(), absl::StatusCode::kUnavailable);
}

TEST(UsageRequestIdTest, DependsOnEveryPart) {
  const std::string id = UsageRequestId("u", "logits", 1);
  EXPECT_TRUE(ledger::IsUuid(id));
  EXPECT_NE(id, UsageRequestId("v", "logits", 1));
  EXPECT_NE(id, UsageRequestId("u", "text_only", 1));
  EXPECT_NE(id, UsageRequestId("u", "logits", 2));
}

// 90 minutes of two devices at 2.50 an hour, and 7.2 MJ at 0.30 a kilowatt-hour.
TEST_F(UsageLogTest, AnAttemptIsMeteredExactly) {
  double now = 100;
  uint64_t energy_us = 0;
  Instruments instruments;
  instruments.now_us = [] { return int64_t{1'767'323'045'000'006}; };
  instruments.begun_us = instruments.now_us();
  instruments.begun_seconds = now;
  instruments.seconds = [&now] { return now; };
  instruments.devices = 2;
  const auto energy = student::MakeDeclaredMeter(1'000'000, [&energy_us] { return energy_us; });
  instruments.energy = energy.get();
  UsageLog log = Open();
  Attempt attempt(7, instruments, *ParsePrices("EUR", "2.50", "0.30"), "500", log);
  attempt.SetFirstStep(10);
  student::TrainedStep step;
  step.step = 11;
  step.tokens = 128;
  attempt.Add(step);
  now += 5400;
  energy_us += 7'200'000'000;
  ASSERT_TRUE(attempt.End("stopped").ok());
  const auto record = log.Read(7);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->usage.begun_time, "2026-01-02T03:04:05.000006Z");
  EXPECT_EQ(record->usage.ended_time, "2026-01-02T04:34:05.000006Z");
  EXPECT_EQ(record->usage.first_step, 10);
  EXPECT_EQ(record->usage.last_step, 11);
  EXPECT_EQ(record->usage.tokens, 128);
  EXPECT_EQ(record->usage.device_seconds, "10800");
  EXPECT_EQ(record->usage.energy_kwh, "2");
  EXPECT_EQ(record->usage.device_cost, "7.5");
  EXPECT_EQ(record->usage.energy_cost, "0.6");
}

TEST_F(UsageLogTest, NothingMeasuredIsNothingClaimed) {
  const Instruments instruments = PlainInstruments();
  UsageLog log = Open();
  Attempt attempt(1, instruments, *ParsePrices("EUR", "", "0.30"), "", log);
  ASSERT_TRUE(attempt.Record().ok());
  const auto record = log.Read(1);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->usage.outcome, "lost");
  EXPECT_EQ(record->usage.energy_source, "none");
  EXPECT_EQ(record->usage.energy_kwh, "");
  EXPECT_EQ(record->usage.energy_cost, "");
  EXPECT_EQ(record->usage.device_cost, "");
}

TEST(ParsePricesTest, ReadsAndRefuses) {
  const auto prices = ParsePrices("EUR", "2.50", "0.30");
  ASSERT_TRUE(prices.ok()) << prices.status();
  EXPECT_EQ(prices->device_hour, "2.5");
  EXPECT_EQ(prices->kwh, "0.3");
  EXPECT_TRUE(ParsePrices("", "", "").ok());
  EXPECT_TRUE(ParsePrices("USD", "", "0.1").ok());
  const std::array<const char*, 4> bad[] = {
      {"", "2.5", "", "--currency"},
      {"EUR", "", "", "--currency"},
      {"euro", "1", "", "--currency"},
      {"EUR", "-1", "", "--price-device-hour"},
      {"EUR", "1e3", "", "--price-device-hour"},
      {"EUR", "1", "0,3", "--price-kwh"},
  };
  for (const auto& [currency, hour, kwh, flag] : bad) {
    const auto status = ParsePrices(currency, hour, kwh).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << currency << hour << kwh;
    EXPECT_EQ(status.message().substr(0, std::string(flag).size()), flag) << status;
  }
}

}  // namespace
}  // namespace retort::train
