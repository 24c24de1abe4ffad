// A job is killed before and after every single call that it makes, and goes on: nothing that the ledger
// holds is asked again, nothing is appended twice, and the job ends as if nothing had been.
#include <set>

#include "tests/services/jobs/service_fixture.h"

namespace retort::jobs {
namespace {

class CrashTest : public JobsServiceFixture {
 protected:
  // The hook stops the call with this number, counted at both moments of all calls, until the client is gone.
  void CrashAt(int number) {
    number_ = number;
    count_ = 0;
    peers_.SetHook([this](const std::string& method, Moment moment, grpc::ServerContext& context) {
      {
        std::lock_guard lock(mutex_);
        if (++count_ != number_) return grpc::Status::OK;
        where_ = method + (moment == Moment::kBefore ? " before" : " after");
        reached_ = true;
        changed_.notify_all();
      }
      while (!context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return grpc::Status::CANCELLED;
    });
  }

  // True when the crash was reached before the job ended.
  bool AwaitCrash() {
    std::unique_lock lock(mutex_);
    for (int i = 0; i < 3000 && !reached_; ++i) {
      changed_.wait_for(lock, std::chrono::milliseconds(10));
      lock.unlock();
      const auto job = Get();
      const bool ended = job.ok() && HasEnded(*job);
      lock.lock();
      if (ended) break;
    }
    return std::exchange(reached_, false);
  }

  // One job with crashes at these calls of successive processes; false when it ended before the first.
  bool RunWithCrashes(const std::vector<int>& numbers, int concurrency) {
    bool crashed = false;
    for (size_t i = 0; i < numbers.size(); ++i) {
      CrashAt(numbers[i]);
      Start();
      if (i == 0) {
        v1::CreateJobRequest request = ExampleRequest();
        request.mutable_spec()->set_concurrency(concurrency);
        EXPECT_TRUE(Create(request).ok());
      }
      if (!AwaitCrash()) break;
      crashed = true;
      Kill();
    }
    peers_.SetHook(nullptr);
    if (!service_) Start();
    const v1::Job job = Await();
    EXPECT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << where_ << ": " << job.state_message();
    EXPECT_EQ(job.progress().samples_done(), 4) << where_;
    CheckLedger();
    return crashed;
  }

  void CheckLedger() {
    std::set<int32_t> prompts;
    std::map<ledger::v1::EntryKind, int> kinds;
    for (const auto& entry : peers_.entries()) {
      ++kinds[entry.kind];
      if (entry.prompt < 0) continue;
      EXPECT_TRUE(prompts.insert(entry.prompt).second)
          << where_ << ": prompt " << entry.prompt << " is there twice";
    }
    EXPECT_EQ(prompts.size(), 4u) << where_;
    EXPECT_EQ(kinds[ledger::v1::ENTRY_KIND_POLICY_PACK], 1) << where_;
    EXPECT_EQ(kinds[ledger::v1::ENTRY_KIND_DECISION], 1) << where_;
    EXPECT_EQ(kinds[ledger::v1::ENTRY_KIND_DATASET], 1) << where_;
    EXPECT_EQ(kinds[ledger::v1::ENTRY_KIND_RELEASE], 1) << where_;
    // No call is repeated under its own number, and none above the one in the ledger was made.
    std::set<std::pair<int32_t, int32_t>> asked;
    for (const auto& call : peers_.extracts()) EXPECT_TRUE(asked.insert(call).second) << where_;
    for (const auto& entry : peers_.entries(ledger::v1::ENTRY_KIND_SAMPLE)) {
      EXPECT_EQ(asked.count({entry.prompt, entry.attempt + 1}), 0u) << where_;
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int number_ = 0, count_ = 0;
  bool reached_ = false;
  std::string where_;
};

// One instance for each call of the job, so that each starts from nothing.
class CrashAtCallTest : public CrashTest, public testing::WithParamInterface<int> {};

constexpr int kCalls =
    42;  // of an undisturbed job with four prompts; calls with an effect count before and after it

TEST_P(CrashAtCallTest, JobGoesOn) {
  EXPECT_TRUE(RunWithCrashes({GetParam()}, 1)) << "the job makes fewer calls than are tested";
  // What was in flight may be asked once more, and nothing else.
  EXPECT_LE(peers_.extracts().size(), 5u);
}

INSTANTIATE_TEST_SUITE_P(Every, CrashAtCallTest, testing::Range(1, kCalls + 1));

TEST_F(CrashTest, KillsCoverTheWholeJob) {
  EXPECT_FALSE(RunWithCrashes({kCalls + 1}, 1)) << "the job makes more calls than are tested: " << where_;
}

TEST_F(CrashTest, ManyKillsOfOneJob) {
  EXPECT_TRUE(RunWithCrashes({5, 9, 7, 4, 11, 3, 8, 6, 10, 12}, 4));
}

// A trainer that its server's death takes along is started again.
TEST_F(CrashTest, KilledWhileTraining) {
  const std::string marker = (folder_.path() / "second").string();
  trainer_ = folder_.Script(
      "trainer",
      "if [ ! -e '" + marker + "' ]; then touch '" + marker +
          "'; echo '{\"event\":\"started\",\"parameters\":1,\"active_parameters\":1,\"resumed_step\":0}'; "
          "exec sleep 60; fi\n" +
          kFakeTrainer);
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  Await([](const v1::Job& job) { return job.progress().student_parameters() == 1; });
  Kill();
  Start();
  EXPECT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  CheckLedger();
}

}  // namespace
}  // namespace retort::jobs
