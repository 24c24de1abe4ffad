#include "services/jobs/jobs_service.h"

#include <fstream>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/statement.h"
#include "tests/services/jobs/service_fixture.h"

namespace retort::jobs {
namespace {

using grpc::StatusCode;

constexpr char kRequestId[] = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";

class JobsServiceTest : public JobsServiceFixture {
 protected:
  JobsServiceTest() { Start(); }
};

TEST_F(JobsServiceTest, CarriesAJobToItsRelease) {
  auto created = Create(ExampleRequest());
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->state(), v1::Job::STATE_QUEUED);
  EXPECT_EQ(created->entries().dataset(), -1);
  EXPECT_EQ(created->spec().prompts_size(), 4);
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.student(), "projects/p/students/Example-1");
  EXPECT_EQ(job.progress().samples_done(), 4);
  EXPECT_EQ(job.progress().samples_allowed(), 4);
  EXPECT_EQ(job.progress().teacher_tokens(), 28);
  EXPECT_EQ(job.progress().steps_total(), 4);
  EXPECT_EQ(job.progress().steps_done(), 4);
  EXPECT_EQ(job.progress().training_tokens(), 512);
  EXPECT_EQ(job.progress().student_active_parameters(), 400);
  ASSERT_EQ(job.quality_size(), 2);
  EXPECT_EQ(job.quality(0).student(), "untrained");
  EXPECT_EQ(job.quality(1).student(), "logits");
  EXPECT_EQ(job.entries().training_finish(), 77);

  // The pack comes before the decision that names it, the release last.
  std::vector<ledger::v1::EntryKind> kinds;
  for (const auto& entry : peers_.entries()) kinds.push_back(entry.kind);
  EXPECT_EQ(kinds, (std::vector<ledger::v1::EntryKind>{
                       ledger::v1::ENTRY_KIND_POLICY_PACK, ledger::v1::ENTRY_KIND_DECISION,
                       ledger::v1::ENTRY_KIND_SAMPLE, ledger::v1::ENTRY_KIND_SAMPLE,
                       ledger::v1::ENTRY_KIND_SAMPLE, ledger::v1::ENTRY_KIND_SAMPLE,
                       ledger::v1::ENTRY_KIND_DATASET, ledger::v1::ENTRY_KIND_RELEASE}));
  EXPECT_EQ(job.entries().preflight(), 1);
  EXPECT_EQ(job.entries().dataset(), 6);
  EXPECT_EQ(job.entries().release(), 7);
  for (const auto& [index, attempt] : peers_.extracts()) EXPECT_EQ(attempt, 1) << index;
}

TEST_F(JobsServiceTest, BaselineIsASecondRunThatIsNotReleased) {
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->mutable_training()->set_text_only_baseline(true);
  ASSERT_TRUE(Create(request).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  ASSERT_EQ(job.quality_size(), 3);
  EXPECT_EQ(job.quality(1).student(), "logits");
  EXPECT_EQ(job.quality(2).student(), "text_only");
  EXPECT_EQ(job.progress().steps_total(), 8);
  EXPECT_EQ(job.progress().steps_done(), 8);
}

TEST_F(JobsServiceTest, TeacherWithoutTokenIdsTrainsOnText) {
  peers_.local_teacher = false;
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  ASSERT_EQ(job.quality_size(), 2);
  EXPECT_EQ(job.quality(1).student(), "text_only");
}

TEST_F(JobsServiceTest, ExtractOnlyEndsWithTheDataset) {
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_extract_only(true);
  request.mutable_spec()->clear_student();
  request.mutable_spec()->clear_training();
  ASSERT_TRUE(Create(request).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.student(), "");
  EXPECT_GE(job.entries().dataset(), 0);
  EXPECT_EQ(job.entries().release(), -1);
}

TEST_F(JobsServiceTest, DeniedJobSendsNothing) {
  peers_.job_effect = "deny";
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "POLICY_DENIED");
  EXPECT_NE(job.state_message().find("rule-1"), std::string::npos);
  EXPECT_NE(job.state_message().find("clause 2.1"), std::string::npos);
  EXPECT_EQ(job.progress().samples_refused_before_sending(), 4);
  EXPECT_TRUE(peers_.extracts().empty());
  const auto packs = peers_.entries(ledger::v1::ENTRY_KIND_POLICY_PACK);
  ASSERT_EQ(packs.size(), 1u);
  EXPECT_EQ(packs[0].attachment, "id: test-pack\n");
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_DECISION).size(), 1u);
  v1::ResumeJobRequest resume;
  resume.set_name(job.name());
  const auto resumed = Call(&v1::JobsService::StubInterface::ResumeJob, resume);
  EXPECT_EQ(resumed.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(resumed.status()), JOB_STATE);
}

TEST_F(JobsServiceTest, ReviewOfTheJobNamesWhatIsMissing) {
  peers_.job_effect = "review";
  peers_.job_missing = {"student.competition.providers"};
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "POLICY_REVIEW");
  EXPECT_NE(job.state_message().find("student.competition.providers"), std::string::npos);
  EXPECT_TRUE(peers_.extracts().empty());
}

TEST_F(JobsServiceTest, UnknownTeacherFailsTheJob) {
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_teacher("other");
  ASSERT_TRUE(Create(request).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "NOT_FOUND");
}

TEST_F(JobsServiceTest, CountsWhatPolicySaysAboutSamples) {
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->mutable_prompts(1)->set_text("review this");
  request.mutable_spec()->mutable_prompts(2)->set_text("deny this");
  ASSERT_TRUE(Create(request).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().samples_allowed(), 2);
  EXPECT_EQ(job.progress().samples_review(), 1);
  EXPECT_EQ(job.progress().samples_denied(), 1);
}

TEST_F(JobsServiceTest, WaitsForReviewWhenNothingElseIsUsable) {
  v1::CreateJobRequest request = ExampleRequest();
  for (int i = 0; i < 3; ++i)
    request.mutable_spec()->mutable_prompts(i)->set_text("review " + std::to_string(i));
  ASSERT_TRUE(Create(request).ok());
  v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_AWAITING_REVIEW);
  EXPECT_EQ(job.state_reason(), "POLICY_REVIEW");
  v1::CancelJobRequest cancel;
  cancel.set_name(job.name());
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::CancelJob, cancel).ok());
  job = Await([](const v1::Job& now) { return now.state() == v1::Job::STATE_CANCELLED; });
  EXPECT_EQ(job.state(), v1::Job::STATE_CANCELLED);
}

TEST_F(JobsServiceTest, NothingAllowedFailsTheJob) {
  v1::CreateJobRequest request = ExampleRequest();
  for (int i = 0; i < 4; ++i)
    request.mutable_spec()->mutable_prompts(i)->set_text("deny " + std::to_string(i));
  ASSERT_TRUE(Create(request).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "DATASET_EMPTY");
}

TEST_F(JobsServiceTest, RefusedKeyFailsTheJobAndResumeGoesOn) {
  std::atomic<bool> refuse{true};
  peers_.on_extract = [&](const teacher::v1::ExtractRequest& request) {
    if (!refuse || request.key().index() == 0) return grpc::Status::OK;
    return PeerError(StatusCode::UNAUTHENTICATED, TEACHER_UNAUTHORISED);
  };
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_concurrency(1);
  ASSERT_TRUE(Create(request).ok());
  v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "TEACHER_UNAUTHORISED");
  EXPECT_EQ(peers_.extracts().size(), 2u);
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_SAMPLE).size(), 1u);

  refuse = false;
  v1::ResumeJobRequest resume;
  resume.set_name(job.name());
  const auto resumed = Call(&v1::JobsService::StubInterface::ResumeJob, resume);
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->state(), v1::Job::STATE_EXTRACTING);
  job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  // Prompt 0 was not asked again; the one that was in flight was, visibly.
  EXPECT_EQ(peers_.extracts(),
            (std::vector<std::pair<int32_t, int32_t>>{{0, 1}, {1, 1}, {1, 2}, {2, 1}, {3, 1}}));
}

TEST_F(JobsServiceTest, FailedJobWhoseStudentIsTakenDoesNotGoOn) {
  v1::CreateJobRequest request = ExampleRequest("first");
  request.mutable_spec()->set_teacher("other");
  ASSERT_TRUE(Create(request).ok());
  ASSERT_EQ(Await(HasEnded, "projects/p/jobs/first").state(), v1::Job::STATE_FAILED);
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  v1::ResumeJobRequest resume;
  resume.set_name("projects/p/jobs/first");
  EXPECT_EQ(Call(&v1::JobsService::StubInterface::ResumeJob, resume).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
}

TEST_F(JobsServiceTest, RefusedPromptIsGivenUpAlone) {
  peers_.on_extract = [](const teacher::v1::ExtractRequest& request) {
    return request.key().index() == 1 ? PeerError(StatusCode::INVALID_ARGUMENT, TEACHER_REJECTED)
                                      : grpc::Status::OK;
  };
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().samples_failed(), 1);
  EXPECT_EQ(job.progress().samples_done(), 3);
  EXPECT_EQ(peers_.extracts().size(), 4u);
}

TEST_F(JobsServiceTest, SlowEndpointIsTriedAgain) {
  peers_.on_extract = [](const teacher::v1::ExtractRequest& request) {
    return request.key().attempt() < 3 ? PeerError(StatusCode::RESOURCE_EXHAUSTED, TEACHER_RATE_LIMITED)
                                       : grpc::Status::OK;
  };
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().samples_failed(), 0);
  EXPECT_EQ(peers_.extracts().size(), 12u);
}

TEST_F(JobsServiceTest, DeadEndpointFailsTheJobResumably) {
  Kill();
  failed_samples_max_ = 2;
  Start();
  std::atomic<bool> dead{true};
  peers_.on_extract = [&](const teacher::v1::ExtractRequest&) {
    return dead ? PeerError(StatusCode::UNAVAILABLE, TEACHER_UNAVAILABLE) : grpc::Status::OK;
  };
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "TEACHER_UNAVAILABLE");
  dead = false;
  v1::ResumeJobRequest resume;
  resume.set_name(job.name());
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::ResumeJob, resume).ok());
  job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().samples_done(), 4);
  EXPECT_EQ(job.progress().samples_failed(), 0);
}

// An endpoint that answers nobody is waited for, and the job says so; nothing is given up meanwhile.
TEST_F(JobsServiceTest, DeadEndpointIsWaitedFor) {
  Kill();
  failed_samples_max_ = 1;
  outage_ = std::chrono::minutes(1);
  Start();
  std::atomic<bool> dead{true};
  peers_.on_extract = [&](const teacher::v1::ExtractRequest&) {
    return dead ? PeerError(StatusCode::UNAVAILABLE, TEACHER_UNAVAILABLE) : grpc::Status::OK;
  };
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  v1::Job job = Await(
      [](const v1::Job& seen) { return HasEnded(seen) || seen.state_reason() == "TEACHER_UNAVAILABLE"; });
  ASSERT_EQ(job.state(), v1::Job::STATE_EXTRACTING) << job.state_message();
  EXPECT_EQ(job.state_reason(), "TEACHER_UNAVAILABLE");
  EXPECT_EQ(job.blocking_resource(), "services/teacher");
  EXPECT_NE(job.state_message().find("waiting for the teacher's endpoint"), std::string::npos)
      << job.state_message();
  v1::GetJobLogRequest ask;
  ask.set_name(job.name());
  const auto log = Call(&v1::JobsService::StubInterface::GetJobLog, ask);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_TRUE(std::any_of(log->lines().begin(), log->lines().end(), [](const v1::JobLogLine& line) {
    return line.severity() == v1::JobLogLine::SEVERITY_WARNING &&
           line.text().find("waiting for the teacher's endpoint") != std::string::npos;
  })) << log->DebugString();
  dead = false;
  job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.state_reason(), "");
  EXPECT_EQ(job.progress().samples_done(), 4);
  EXPECT_EQ(job.progress().samples_failed(), 0);
}

// It is not for ever.
TEST_F(JobsServiceTest, AnOutageThatDoesNotEndFailsTheJob) {
  Kill();
  failed_samples_max_ = 1;
  outage_ = std::chrono::milliseconds(300);
  Start();
  peers_.on_extract = [&](const teacher::v1::ExtractRequest&) {
    return PeerError(StatusCode::RESOURCE_EXHAUSTED, TEACHER_RATE_LIMITED);
  };
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "TEACHER_RATE_LIMITED");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, outage_);
}

// One prompt that an endpoint never answers does not look like an outage, and does not hold up the others.
TEST_F(JobsServiceTest, APromptThatTimesOutIsGivenUpAlone) {
  Kill();
  outage_ = std::chrono::minutes(10);
  Start();
  peers_.on_extract = [](const teacher::v1::ExtractRequest& request) {
    return request.key().index() == 0 ? PeerError(StatusCode::DEADLINE_EXCEEDED, TEACHER_TIMEOUT)
                                      : grpc::Status::OK;
  };
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_concurrency(1);
  ASSERT_TRUE(Create(request).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().samples_done(), 3);
  EXPECT_EQ(job.progress().samples_failed(), 1);
}

TEST_F(JobsServiceTest, AbsentPeersAreWaitedFor) {
  std::atomic<int> refusals{0};
  peers_.SetHook([&](const std::string& method, Moment moment, grpc::ServerContext&) {
    // Each kind of call is refused twice, as by a process that is not there yet.
    static std::mutex mutex;
    static std::map<std::string, int> seen;
    std::lock_guard lock(mutex);
    if (moment == Moment::kBefore && ++seen[method] <= 2) {
      ++refusals;
      return grpc::Status(StatusCode::UNAVAILABLE, "connection refused");
    }
    return grpc::Status::OK;
  });
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_GE(refusals, 16);
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_SAMPLE).size(), 4u);
}

TEST_F(JobsServiceTest, SaysWhomItWaitsFor) {
  std::atomic<bool> away{true};
  peers_.SetHook([&](const std::string& method, Moment, grpc::ServerContext&) {
    return away && method == "AppendEntry" ? grpc::Status(StatusCode::UNAVAILABLE, "connection refused")
                                           : grpc::Status::OK;
  });
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await([](const v1::Job& now) { return now.state_reason() == "PEER_UNAVAILABLE"; });
  EXPECT_EQ(job.blocking_resource(), "services/ledger");
  EXPECT_NE(job.state_message().find("ledger"), std::string::npos) << job.state_message();
  away = false;
  EXPECT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
}

TEST_F(JobsServiceTest, KeepsConcurrencyBounded) {
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_concurrency(2);
  for (int i = 4; i < 30; ++i) {
    v1::Prompt& prompt = *request.mutable_spec()->add_prompts();
    prompt.set_id("more-" + std::to_string(i));
    prompt.set_text("x");
  }
  ASSERT_TRUE(Create(request).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  EXPECT_LE(peers_.most_in_flight(), 2);
}

TEST_F(JobsServiceTest, CancelFinishesWhatIsInFlight) {
  std::mutex mutex;
  std::condition_variable changed;
  bool asked = false, go_on = false;
  peers_.on_extract = [&](const teacher::v1::ExtractRequest&) {
    std::unique_lock lock(mutex);
    asked = true;
    changed.notify_all();
    changed.wait(lock, [&] { return go_on; });
    return grpc::Status::OK;
  };
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_concurrency(1);
  ASSERT_TRUE(Create(request).ok());
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return asked; });
  }
  v1::CancelJobRequest cancel;
  cancel.set_name("projects/p/jobs/example");
  const auto cancelling = Call(&v1::JobsService::StubInterface::CancelJob, cancel);
  ASSERT_TRUE(cancelling.ok()) << cancelling.status();
  EXPECT_EQ(cancelling->state(), v1::Job::STATE_CANCELLING);
  {
    std::lock_guard lock(mutex);
    go_on = true;
  }
  changed.notify_all();
  EXPECT_EQ(Await().state(), v1::Job::STATE_CANCELLED);
  EXPECT_EQ(peers_.extracts().size(), 1u);
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_SAMPLE).size(), 1u);
  const auto again = Call(&v1::JobsService::StubInterface::CancelJob, cancel);
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(again.status()), JOB_STATE);
}

TEST_F(JobsServiceTest, CancelStopsTheTrainer) {
  trainer_ = folder_.Script(
      "trainer",
      "trap 'exit 0' TERM\n"
      "echo '{\"event\":\"started\",\"parameters\":1,\"active_parameters\":1,\"resumed_step\":0}'\n"
      "while :; do sleep 0.01; done\n");
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  Await([](const v1::Job& job) { return job.progress().student_parameters() == 1; });
  v1::CancelJobRequest cancel;
  cancel.set_name("projects/p/jobs/example");
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::CancelJob, cancel).ok());
  EXPECT_EQ(Await().state(), v1::Job::STATE_CANCELLED);
}

TEST_F(JobsServiceTest, StaleEtagIsAborted) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  v1::CancelJobRequest cancel;
  cancel.set_name("projects/p/jobs/example");
  cancel.set_etag("\"0\"");
  const auto cancelled = Call(&v1::JobsService::StubInterface::CancelJob, cancel);
  EXPECT_EQ(cancelled.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(services::ReasonOf(cancelled.status()), ETAG_MISMATCH);
}

TEST_F(JobsServiceTest, DyingTrainerIsStartedAgain) {
  trainer_ = folder_.Script("trainer", "echo x >> '" + (folder_.path() / "launches").string() +
                                           "'\n"
                                           "[ $(wc -l < '" +
                                           (folder_.path() / "launches").string() +
                                           "') -lt 3 ] && kill -9 $$\n" + kFakeTrainer);
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
}

TEST_F(JobsServiceTest, TrainerThatNeverAdvancesFailsTheJob) {
  trainer_ = folder_.Script(
      "trainer",
      "echo x >> '" + (folder_.path() / "launches").string() +
          "'\n"
          "echo '{\"event\":\"error\",\"code\":\"UNAVAILABLE\",\"message\":\"no ledger\"}'\nexit 1\n");
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "TRAINING_FAILED");
  EXPECT_NE(job.state_message().find("no ledger"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(folder_.path() / "launches"), 6u);  // three lines
}

TEST_F(JobsServiceTest, RefusalOfTheTrainerIsFinal) {
  trainer_ = folder_.Script(
      "trainer", "echo x >> '" + (folder_.path() / "launches").string() +
                     "'\n"
                     "echo '{\"event\":\"error\",\"code\":\"DATA_LOSS\",\"message\":\"proof\"}'\nexit 1\n");
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  EXPECT_EQ(Await().state_reason(), "TRAINING_FAILED");
  EXPECT_EQ(std::filesystem::file_size(folder_.path() / "launches"), 2u);  // one line
}

TEST_F(JobsServiceTest, ShowsTheTrainersReport) {
  trainer_ = folder_.Script(
      "trainer",
      std::string(kFakeTrainer) +
          R"sh(echo '{"event":"report","step":2,"steps":4,"loss":2.5,"tokens":256,"seconds":0.5,"tokens_per_second":512,"phases":{"data":0.01,"forward":0.125,"backward":0.25,"optimizer":0.0625,"communication":0,"checkpoint":0},"flops_per_second":1e9,"prediction_loss":3.5,"mfu":0.25,"expert_load":[1.5],"resident_bytes":1000000,"energy_source":"declared","watts":65}'
)sh");
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  const v1::TrainingReport& report = job.progress().training_report();
  EXPECT_EQ(report.tokens_per_second(), 512);
  EXPECT_EQ(report.phases().forward(), 0.125);
  EXPECT_EQ(report.prediction_loss(), 3.5);
  EXPECT_EQ(report.mfu(), 0.25);
  EXPECT_EQ(report.expert_load_size(), 1);
  EXPECT_EQ(report.watts(), 65);
  EXPECT_EQ(report.energy_source(), "declared");
  EXPECT_FALSE(report.has_celsius());
  EXPECT_FALSE(report.has_peak_flops_per_second());
}

// A trainer that leaves a record of what it used and ends as `end` says; asked to settle, it says so in a
// file.
std::string SettlingTrainer(const std::string& settled, const std::string& end) {
  return "if [ \"$1\" = --settle-usage ]; then echo \"$@\" >> '" + settled + "'; exit 0; fi\n" +
         "while [ $# -gt 0 ]; do case \"$1\" in --run-dir) mkdir -p \"$2/usage\";; esac; shift 2; done\n" +
         end;
}

TEST_F(JobsServiceTest, AccountsForTrainingBeforeTheJobFails) {
  const std::string settled = (folder_.path() / "settled").string();
  trainer_ = folder_.Script(
      "trainer",
      SettlingTrainer(settled,
                      "echo '{\"event\":\"error\",\"code\":\"DATA_LOSS\",\"message\":\"x\"}'\nexit 1\n"));
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  EXPECT_EQ(Await().state(), v1::Job::STATE_FAILED);
  std::ifstream in(settled);
  std::string arguments, more;
  ASSERT_TRUE(std::getline(in, arguments));
  EXPECT_FALSE(std::getline(in, more));
  for (const char* flag :
       {"--run-dir", "--dataset-entry", "--key trainer.key", "--job projects/p/jobs/example"}) {
    EXPECT_NE(arguments.find(flag), std::string::npos) << arguments;
  }
}

TEST_F(JobsServiceTest, AccountsForTrainingBeforeTheJobIsCancelled) {
  const std::string settled = (folder_.path() / "settled").string();
  trainer_ = folder_.Script(
      "trainer",
      SettlingTrainer(
          settled,
          "trap 'exit 3' TERM\n"
          "echo '{\"event\":\"started\",\"parameters\":1,\"active_parameters\":1,\"resumed_step\":0}'\n"
          "while :; do sleep 0.01; done\n"));
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  Await([](const v1::Job& job) { return job.progress().student_parameters() == 1; });
  v1::CancelJobRequest cancel;
  cancel.set_name("projects/p/jobs/example");
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::CancelJob, cancel).ok());
  EXPECT_EQ(Await().state(), v1::Job::STATE_CANCELLED);
  EXPECT_TRUE(std::filesystem::exists(settled));
}

TEST_F(JobsServiceTest, RepeatedCreateReturnsTheFirstAnswer) {
  v1::CreateJobRequest request = ExampleRequest("");
  request.set_request_id(kRequestId);
  const auto first = Create(request);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  // What is said about the queue is as of now; the rest is the first answer.
  const auto kept = [](v1::Job job) {
    for (auto clear : {&v1::Job::clear_state_reason, &v1::Job::clear_state_message,
                       &v1::Job::clear_queue_position, &v1::Job::clear_blocking_resource}) {
      (job.*clear)();
    }
    return job.SerializeAsString();
  };
  EXPECT_EQ(kept(*again), kept(*first));
  Await(HasEnded, first->name());
  Kill();
  Start();
  const auto later = Create(request);
  ASSERT_TRUE(later.ok()) << later.status();
  EXPECT_EQ(later->uid(), first->uid());
  EXPECT_EQ(later->state(), v1::Job::STATE_QUEUED);
  request.mutable_spec()->set_display_name("another body");
  EXPECT_EQ(services::ReasonOf(Create(request).status()), REQUEST_ID_REUSED);
}

TEST_F(JobsServiceTest, ValidateOnlyCreatesNothing) {
  v1::CreateJobRequest request = ExampleRequest();
  request.set_validate_only(true);
  EXPECT_TRUE(Create(request).ok());
  EXPECT_EQ(Get().status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(peers_.entries().empty());
  peers_.job_effect = "deny";
  const auto denied = Create(request);
  EXPECT_EQ(denied.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(denied.status()), POLICY_DENIED);
}

TEST_F(JobsServiceTest, ListsInPagesWithoutPrompts) {
  for (const char* id : {"a", "b", "c"}) {
    v1::CreateJobRequest request = ExampleRequest(id);
    request.mutable_spec()->set_extract_only(true);
    request.mutable_spec()->clear_student();
    ASSERT_TRUE(Create(request).ok());
  }
  v1::ListJobsRequest list;
  list.set_parent("projects/p");
  list.set_page_size(2);
  auto page = Call(&v1::JobsService::StubInterface::ListJobs, list);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->jobs_size(), 2);
  EXPECT_EQ(page->jobs(0).name(), "projects/p/jobs/c");
  EXPECT_EQ(page->jobs(0).spec().prompts_size(), 0);
  list.set_page_token(page->next_page_token());
  page = Call(&v1::JobsService::StubInterface::ListJobs, list);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->jobs_size(), 1);
  EXPECT_EQ(page->next_page_token(), "");
  list.set_parent("projects/q");
  EXPECT_EQ(services::ReasonOf(Call(&v1::JobsService::StubInterface::ListJobs, list).status()),
            PAGE_TOKEN_INVALID);
}

TEST_F(JobsServiceTest, ReleaseHoldsWhatItsStatementSays) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  grpc::ClientContext context;
  v1::DownloadStudentRequest request;
  request.set_name("projects/p/students/Example-1");
  auto reader = client_->DownloadStudent(&context, request);
  std::map<std::string, std::string> files;
  v1::StudentFile piece;
  while (reader->Read(&piece)) files[piece.path()] += piece.content();
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_EQ(files["model.safetensors"], "weights\n");
  EXPECT_NE(files["README.md"].find("| dataset | 6 |"), std::string::npos) << files["README.md"];
  EXPECT_NE(files["README.md"].find("Log `test.invalid/p`"), std::string::npos);
  EXPECT_NE(files["NOTICE"].find("test-model"), std::string::npos);
  const auto release =
      ledger::ReleaseStatement::Parse(peers_.entries(ledger::v1::ENTRY_KIND_RELEASE).at(0).statements.at(0));
  ASSERT_TRUE(release.ok()) << release.status();
  ASSERT_EQ(release->files.size(), files.size());
  for (const auto& file : release->files) {
    EXPECT_EQ(file.sha256, ledger::HexEncode(ledger::Sha256(files[file.path]))) << file.path;
  }
  EXPECT_EQ(release->training_entry, 77);
  EXPECT_EQ(release->quality[1].kl, "1.25");
}

TEST_F(JobsServiceTest, AlteredStudentIsDataLoss) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  std::ofstream(folder_.path() / "data/students/p/Example-1/model.safetensors") << "Weights\n";
  grpc::ClientContext context;
  v1::DownloadStudentRequest request;
  request.set_name("projects/p/students/Example-1");
  auto reader = client_->DownloadStudent(&context, request);
  v1::StudentFile piece;
  while (reader->Read(&piece)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::DATA_LOSS);
}

TEST_F(JobsServiceTest, UnmetDutyStopsTheReleaseUntilItIsMet) {
  peers_.obligation = {"licence_copy", "Test Licence 1.0"};
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->mutable_purpose()->set_distributed(true);
  ASSERT_TRUE(Create(request).ok());
  v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "POLICY_DENIED");
  EXPECT_NE(job.state_message().find("licence_copy"), std::string::npos) << job.state_message();
  EXPECT_TRUE(peers_.entries(ledger::v1::ENTRY_KIND_RELEASE).empty());
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "data/students/p/Example-1"));

  std::filesystem::create_directories(folder_.path() / "data/licences");
  std::ofstream(folder_.path() / "data/licences/LICENSE.test-licence-1.0")
      << "Test Licence 1.0\nthe whole text\n";
  v1::ResumeJobRequest resume;
  resume.set_name(job.name());
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::ResumeJob, resume).ok());
  job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
}

TEST_F(JobsServiceTest, UnreleasedStudentIsNotFound) {
  grpc::ClientContext context;
  v1::DownloadStudentRequest request;
  request.set_name("projects/p/students/Nobody");
  auto reader = client_->DownloadStudent(&context, request);
  v1::StudentFile piece;
  EXPECT_FALSE(reader->Read(&piece));
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace retort::jobs
