#include "services/train/run.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "student/export/hugging_face.h"
#include "tests/services/train/run_fixture.h"

namespace retort::train {
namespace {

class RunTest : public RunFixture {};

TEST_F(RunTest, GoesFromDatasetToStudent) {
  const auto status = RunIt(Options("run"), trainer_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_NE(log_.find("6 samples to train on, 2 held out"), std::string::npos) << log_;

  ASSERT_EQ(Of("started").size(), 1u);
  EXPECT_EQ(Of("started")[0]["resumed_step"], 0);
  EXPECT_EQ(Of("step").size(), 6u);
  EXPECT_EQ(Of("checkpoint").size(), 4u);
  const auto quality = Of("quality");
  ASSERT_EQ(quality.size(), 2u);
  EXPECT_EQ(quality[0]["student"], "untrained");
  EXPECT_EQ(quality[1]["student"], "logits");
  EXPECT_EQ(quality[1]["tokens"], 36);
  EXPECT_LT(quality[1]["kl"].get<double>(), quality[0]["kl"].get<double>());
  ASSERT_EQ(Of("finished").size(), 1u);
  const auto finished = Of("finished")[0];
  const auto verified = student::VerifyStudent(finished["student_dir"].get<std::string>(),
                                               finished["digest"].get<std::string>());
  EXPECT_TRUE(verified.ok()) << verified;

  const auto entries = TrainingEntries();
  ASSERT_EQ(entries.size(), 4u);
  const std::vector<std::string> phases = {"start", "checkpoint", "checkpoint", "finish"};
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(entries[i].phase, phases[i]);
    EXPECT_EQ(entries[i].step, static_cast<int64_t>(2 * i));
    EXPECT_EQ(entries[i].previous_digest, i == 0 ? "" : entries[i - 1].checkpoint_digest);
    EXPECT_EQ(entries[i].request_id, MilestoneRequestId(kJobUid, "logits", phases[i], entries[i].step));
    EXPECT_EQ(entries[i].dataset_entry, static_cast<int64_t>(dataset_entry_));
    EXPECT_EQ(entries[i].manifest_sha256, Options("run").manifest.Digest());
  }
  EXPECT_EQ(entries[3].checkpoint_digest, finished["digest"]);
}

TEST_F(RunTest, FinishedRunFinishesAgainAndAppendsNothing) {
  ASSERT_TRUE(RunIt(Options("run"), trainer_).ok());
  const auto first = Of("finished")[0];
  ASSERT_TRUE(RunIt(Options("run"), trainer_).ok());
  EXPECT_EQ(Of("finished")[0], first);
  EXPECT_EQ(Of("started")[0]["resumed_step"], 6);
  EXPECT_TRUE(Of("step").empty());
  EXPECT_EQ(TrainingEntries().size(), 4u);
  // What the repetition cost is a fact of its own.
  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[0].usage.outcome, "finished");
  EXPECT_EQ(attempts[0].usage.last_step, 6);
  EXPECT_EQ(attempts[1].usage.attempt, 2);
  EXPECT_EQ(attempts[1].usage.outcome, "finished");
  EXPECT_EQ(attempts[1].usage.first_step, 6);
  EXPECT_EQ(attempts[1].usage.tokens, 0);
}

TEST_F(RunTest, StoppedRunResumesToTheSameDigest) {
  ASSERT_TRUE(RunIt(Options("whole"), trainer_).ok());
  const std::string digest = Of("finished")[0]["digest"];
  auto options = Options("stopped");
  int asked = 0;
  options.stop = [&asked] {
    return ++asked > 12;
  };  // reading eight samples asks eight times, then once a step
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kCancelled);
  const size_t steps = Of("step").size();
  EXPECT_GT(steps, 0u);
  EXPECT_LT(steps, 6u);
  ASSERT_TRUE(RunIt(Options("stopped"), trainer_).ok());
  EXPECT_EQ(Of("started")[0]["resumed_step"], steps);
  EXPECT_EQ(Of("finished")[0]["digest"], digest);
  EXPECT_EQ(TrainingEntries().size(), 4u);  // the same bytes under the same request ids
  std::vector<std::string> outcomes;
  for (const auto& entry : TrainingEntries(/*usage=*/true)) {
    outcomes.push_back(std::to_string(entry.usage.attempt) + entry.usage.outcome);
  }
  // The undisturbed run in its own folder was attempt 1 of the same job; a new folder does not take its
  // number.
  EXPECT_EQ(outcomes, (std::vector<std::string>{"1finished", "2stopped", "3finished"}));
}

TEST_F(RunTest, WaitsForALedgerThatIsAway) {
  StopServer();
  std::thread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    StartServer();
  });
  const auto status = RunIt(Options("run"), trainer_);
  later.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_NE(log_.find("trying again"), std::string::npos) << log_;
  stub_ = wire::LedgerService::NewStub(server_->InProcessChannel({}));
  EXPECT_EQ(TrainingEntries().size(), 4u);
}

TEST_F(RunTest, GivesUpOnALedgerThatStaysAway) {
  StopServer();
  EXPECT_EQ(RunIt(Options("run"), trainer_, std::chrono::milliseconds(300)).code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(RunTest, RefusesWhatDoesNotFit) {
  auto options = Options("run");
  options.manifest.tokenizer_sha256 = std::string(64, 'a');
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kFailedPrecondition);
  options = Options("run");
  options.job_uid = "00000000-0000-4000-8000-00000000000f";
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kInvalidArgument);
  options = Options("run");
  options.log_vkey = stranger_.vkey();
  EXPECT_FALSE(RunIt(options, trainer_).ok());
  options = Options("run");
  options.dataset_entry = 9999;
  EXPECT_FALSE(RunIt(options, trainer_).ok());
  EXPECT_TRUE(TrainingEntries().empty());
}

TEST_F(RunTest, TrainsNothingThatItsKeyCannotAttest) {
  EXPECT_FALSE(RunIt(Options("run"), stranger_).ok());
  EXPECT_TRUE(Of("step").empty());
  EXPECT_TRUE(TrainingEntries().empty());
}

// A clock that moves by a quarter of a second with each look.
Instruments SteppingClock(double& now) {
  Instruments instruments = PlainInstruments();
  instruments.seconds = [&now] { return now += 0.25; };
  instruments.begun_seconds = 0;
  instruments.device = "test device";
  instruments.devices = 2;
  instruments.peak_flops_per_second = 1e12;
  return instruments;
}

TEST_F(RunTest, ReportsAndAccounts) {
  double now = 0;
  uint64_t microseconds = 0;
  const auto energy =
      student::MakeDeclaredMeter(100'000, [&microseconds] { return microseconds += 1'000'000; });
  RunOptions options = Options("run");
  options.instruments = SteppingClock(now);
  options.instruments.energy = energy.get();
  options.declared_watts = "50";
  options.prices = *ParsePrices("EUR", "2.50", "0.30");
  options.report_every_seconds = 0;
  options.metrics_file = folder_ + "/metrics.prom";
  std::string metrics;
  options.stop = [&] {
    std::ifstream in(options.metrics_file);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (!text.empty()) metrics = text;
    return false;
  };
  const auto status = RunIt(options, trainer_);
  ASSERT_TRUE(status.ok()) << status;

  const auto reports = Of("report");
  ASSERT_EQ(reports.size(), 6u);
  for (const auto& report : reports) {
    EXPECT_GT(report["seconds"].get<double>(), 0);
    EXPECT_GT(report["tokens_per_second"].get<double>(), 0);
    EXPECT_GT(report["mfu"].get<double>(), 0);
    EXPECT_GT(report["resident_bytes"].get<int64_t>(), 0);
    EXPECT_EQ(report["energy_source"], "declared");
    EXPECT_FALSE(report.contains("celsius"));
    ASSERT_FALSE(report["expert_load"].empty());
    for (const auto& load : report["expert_load"]) EXPECT_GE(load.get<double>(), 1);
    EXPECT_GT(report["phases"]["forward"].get<double>(), 0);
    EXPECT_GT(report["phases"]["backward"].get<double>(), 0);
    EXPECT_GT(report["phases"]["optimizer"].get<double>(), 0);
  }
  EXPECT_GT(reports[2]["phases"]["checkpoint"].get<double>(), 0);
  EXPECT_NE(metrics.find("retort_train_step{"), std::string::npos) << metrics;
  EXPECT_FALSE(std::filesystem::exists(options.metrics_file)) << "is removed at the end";

  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 1u);
  const ledger::TrainingUsage& usage = attempts[0].usage;
  EXPECT_EQ(usage.outcome, "finished");
  EXPECT_EQ(usage.first_step, 0);
  EXPECT_EQ(usage.last_step, 6);
  EXPECT_GT(usage.tokens, 0);
  EXPECT_EQ(usage.device, "test device");
  EXPECT_EQ(usage.devices, 2);
  EXPECT_EQ(usage.energy_source, "declared");
  EXPECT_EQ(usage.declared_watts, "50");
  EXPECT_EQ(usage.currency, "EUR");
  EXPECT_EQ(usage.price_device_hour, "2.5");
  EXPECT_FALSE(usage.device_cost.empty());
  EXPECT_FALSE(usage.energy_cost.empty());
}

// Kills a run where it stands: what is on disk is all that is left of it.
void Leave(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
}

ledger::TrainingStatement RunOf(const RunOptions& options) {
  ledger::TrainingStatement run;
  run.project = options.project;
  run.job = options.job;
  run.job_uid = options.job_uid;
  run.run = options.manifest.run;
  run.dataset_entry = static_cast<int64_t>(options.dataset_entry);
  run.manifest_sha256 = options.manifest.Digest();
  return run;
}

TEST_F(RunTest, AKillLeavesARecordOfWhatWasUsed) {
  RunOptions options = Options("run");
  options.report_every_seconds = 0;
  const std::string dead = folder_ + "/dead";
  int looks = 0;
  options.stop = [&] {
    if (++looks == 12) Leave(options.run_dir, dead);  // in the midst of training
    return looks > 12;
  };
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kCancelled);
  const auto log = UsageLog::Open(dead, RunOf(options));
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_EQ(log->pending(), (std::vector<int64_t>{1}));
  const auto record = log->Read(1);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->usage.outcome, "lost");
  EXPECT_GT(record->usage.last_step, 0);
  EXPECT_GT(record->usage.tokens, 0);
}

TEST_F(RunTest, TheNextAttemptAccountsForALostOne) {
  const RunOptions options = Options("run");
  {
    auto log = UsageLog::Open(options.run_dir, RunOf(options));
    ASSERT_TRUE(log.ok()) << log.status();
    Attempt lost(1, options.instruments, options.prices, "", *log);
    student::TrainedStep step;
    step.step = 3;
    step.tokens = 100;
    lost.Add(step);
    ASSERT_TRUE(lost.Record().ok());
  }
  ASSERT_TRUE(RunIt(options, trainer_).ok());
  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[0].usage.attempt, 1);
  EXPECT_EQ(attempts[0].usage.outcome, "lost");
  EXPECT_EQ(attempts[0].usage.last_step, 3);
  EXPECT_EQ(attempts[1].usage.attempt, 2);
  EXPECT_EQ(attempts[1].usage.outcome, "finished");
}

TEST_F(RunTest, FailedAttemptsAreAccountedFor) {
  RunOptions options = Options("run");
  ASSERT_TRUE(RunIt(options, trainer_).ok());
  // Checkpoints that are all damaged end an attempt before its first step.
  for (const auto& file : std::filesystem::directory_iterator(options.run_dir)) {
    if (file.path().extension() == ".safetensors") std::ofstream(file.path()) << "damaged";
  }
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kDataLoss);
  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[1].usage.outcome, "failed");
  EXPECT_EQ(attempts[1].usage.tokens, 0);
}

TEST_F(RunTest, SettlesWhatTheLedgerDidNotGet) {
  // A key that the ledger does not know trains nothing, and its record stays.
  EXPECT_FALSE(RunIt(Options("run"), stranger_).ok());
  EXPECT_TRUE(TrainingEntries(/*usage=*/true).empty());
  LedgerClient client(
      wire::LedgerService::NewStub(server_->InProcessChannel({})), [] { return false; },
      [](std::string_view) {});
  for (int again = 0; again < 2; ++again) {
    const auto status = SettleRun(Options("run"), trainer_, client);
    ASSERT_TRUE(status.ok()) << status;
    const auto attempts = TrainingEntries(/*usage=*/true);
    ASSERT_EQ(attempts.size(), 1u);
    EXPECT_EQ(attempts[0].usage.outcome, "failed");
  }
  // And the run then trains as attempt 2.
  ASSERT_TRUE(RunIt(Options("run"), trainer_).ok());
  EXPECT_EQ(TrainingEntries(/*usage=*/true).back().usage.attempt, 2);
}

TEST_F(RunTest, AMarkThatWasLostAppendsNothingTwice) {
  RunOptions options = Options("run");
  ASSERT_TRUE(RunIt(options, trainer_).ok());
  std::filesystem::rename(options.run_dir + "/usage/attempt-000001.appended.json",
                          options.run_dir + "/usage/attempt-000001.json");
  ASSERT_TRUE(RunIt(options, trainer_).ok());
  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 2u);
  EXPECT_EQ(attempts[1].usage.attempt, 2);
}

TEST(MilestoneRequestIdTest, DependsOnEveryPart) {
  const std::string id = MilestoneRequestId("u", "logits", "start", 0);
  EXPECT_TRUE(ledger::IsUuid(id));
  EXPECT_NE(id, MilestoneRequestId("v", "logits", "start", 0));
  EXPECT_NE(id, MilestoneRequestId("u", "text_only", "start", 0));
  EXPECT_NE(id, MilestoneRequestId("u", "logits", "finish", 0));
  EXPECT_NE(id, MilestoneRequestId("u", "logits", "start", 1));
}

}  // namespace
}  // namespace retort::train
