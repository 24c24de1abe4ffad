// Pause, resume, retry, cancel, update, delete; the plan of validate_only; the log; reviews.
#include <atomic>

#include "ledger/statement.h"
#include "tests/services/jobs/service_fixture.h"

namespace retort::jobs {
namespace {

using Stub = v1::JobsService::StubInterface;

constexpr char kName[] = "projects/p/jobs/example";
constexpr char kRequest[] = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";

class JobVerbsTest : public JobsServiceFixture {
 protected:
  JobVerbsTest() { Start(); }

  template <class Request>
  static Request Named(const std::string& etag = "", const std::string& request_id = "") {
    Request request;
    request.set_name(kName);
    request.set_etag(etag);
    request.set_request_id(request_id);
    return request;
  }

  // A job whose extraction stands still until `go_` is set.
  void CreateHeld() {
    peers_.on_extract = [this](const teacher::v1::ExtractRequest&) {
      ++asked_;
      while (!go_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return grpc::Status::OK;
    };
    v1::CreateJobRequest request = ExampleRequest();
    request.mutable_spec()->set_concurrency(1);
    ASSERT_TRUE(Create(request).ok());
    while (asked_ == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  v1::Job AwaitState(v1::Job::State state) {
    return Await([state](const v1::Job& job) { return job.state() == state; });
  }

  std::atomic<bool> go_{false};
  std::atomic<int> asked_{0};
};

TEST_F(JobVerbsTest, PauseKeepsWhatWasPaidForAndResumeGoesOn) {
  CreateHeld();
  auto pausing = Call(&Stub::PauseJob, Named<v1::PauseJobRequest>());
  ASSERT_TRUE(pausing.ok()) << pausing.status();
  EXPECT_EQ(pausing->state(), v1::Job::STATE_PAUSING);
  EXPECT_EQ(pausing->state_reason(), "PAUSED");
  EXPECT_FALSE(pausing->state_message().empty());
  const auto twice = Call(&Stub::PauseJob, Named<v1::PauseJobRequest>());
  EXPECT_EQ(services::ReasonOf(twice.status()), JOB_STATE);
  go_ = true;
  v1::Job job = AwaitState(v1::Job::STATE_PAUSED);
  EXPECT_EQ(peers_.extracts().size(), 1u) << "what was in flight is finished, nothing new is asked";
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_SAMPLE).size(), 1u);

  Kill();  // a paused job stays paused
  Start();
  EXPECT_EQ(Get()->state(), v1::Job::STATE_PAUSED);
  ASSERT_TRUE(Call(&Stub::ResumeJob, Named<v1::ResumeJobRequest>()).ok());
  job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(peers_.extracts().size(), 4u) << "the sample that was paid for is not asked again";
}

TEST_F(JobVerbsTest, PausedJobCanBeCancelledAndRetried) {
  CreateHeld();
  ASSERT_TRUE(Call(&Stub::PauseJob, Named<v1::PauseJobRequest>()).ok());
  go_ = true;
  AwaitState(v1::Job::STATE_PAUSED);
  ASSERT_TRUE(Call(&Stub::CancelJob, Named<v1::CancelJobRequest>()).ok());
  AwaitState(v1::Job::STATE_CANCELLED);
  EXPECT_EQ(services::ReasonOf(Call(&Stub::ResumeJob, Named<v1::ResumeJobRequest>()).status()), JOB_STATE);
  ASSERT_TRUE(Call(&Stub::RetryJob, Named<v1::RetryJobRequest>()).ok());
  const v1::Job job = AwaitState(v1::Job::STATE_SUCCEEDED);
  EXPECT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(peers_.extracts().size(), 4u);
  for (const auto& [index, attempt] : peers_.extracts()) EXPECT_EQ(attempt, 1) << index;
}

TEST_F(JobVerbsTest, RefusalByPolicyIsNotRetried) {
  peers_.job_effect = "deny";
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_FAILED);
  const auto retried = Call(&Stub::RetryJob, Named<v1::RetryJobRequest>());
  EXPECT_EQ(retried.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(retried.status()), JOB_STATE);
}

TEST_F(JobVerbsTest, EveryVerbChecksTheEtag) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  Await();
  const std::string stale = "\"1\"";
  v1::UpdateJobRequest update;
  update.mutable_job()->set_name(kName);
  update.mutable_job()->set_etag(stale);
  update.mutable_job()->set_display_name("x");
  for (const absl::Status& status : {Call(&Stub::CancelJob, Named<v1::CancelJobRequest>(stale)).status(),
                                     Call(&Stub::PauseJob, Named<v1::PauseJobRequest>(stale)).status(),
                                     Call(&Stub::ResumeJob, Named<v1::ResumeJobRequest>(stale)).status(),
                                     Call(&Stub::RetryJob, Named<v1::RetryJobRequest>(stale)).status(),
                                     Call(&Stub::DeleteJob, Named<v1::DeleteJobRequest>(stale)).status(),
                                     Call(&Stub::UpdateJob, update).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_EQ(services::ReasonOf(status), ETAG_MISMATCH);
  }
  const std::string etag = Get()->etag();
  EXPECT_EQ(etag.front(), '"');
  EXPECT_EQ(etag.back(), '"');
}

TEST_F(JobVerbsTest, RepeatedRequestIsOneEffect) {
  CreateHeld();
  const auto first = Call(&Stub::PauseJob, Named<v1::PauseJobRequest>("", kRequest));
  ASSERT_TRUE(first.ok());
  go_ = true;
  AwaitState(v1::Job::STATE_PAUSED);
  const auto again = Call(&Stub::PauseJob, Named<v1::PauseJobRequest>("", kRequest));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->state(), v1::Job::STATE_PAUSING) << "the first answer again";
  const auto other = Call(&Stub::PauseJob, Named<v1::PauseJobRequest>("\"1\"", kRequest));
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(services::ReasonOf(other.status()), REQUEST_ID_REUSED);
}

TEST_F(JobVerbsTest, UpdateChangesWhatTheMaskNames) {
  v1::CreateJobRequest create = ExampleRequest();
  (*create.mutable_labels())["team"] = "cooks";
  ASSERT_TRUE(Create(create).ok());
  Await();
  v1::UpdateJobRequest update;
  update.mutable_job()->set_name(kName);
  update.mutable_job()->set_display_name("Second try");
  auto job = Call(&Stub::UpdateJob, update);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->display_name(), "Second try");
  EXPECT_EQ(job->labels().at("team"), "cooks") << "without a mask, what is empty stays";
  update.mutable_job()->clear_display_name();
  update.mutable_update_mask()->add_paths("*");
  job = Call(&Stub::UpdateJob, update);
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->display_name(), "");
  EXPECT_TRUE(job->labels().empty());
  update.mutable_update_mask()->set_paths(0, "state");
  EXPECT_EQ(services::ReasonOf(Call(&Stub::UpdateJob, update).status()), INVALID_FIELD);
  update.mutable_update_mask()->set_paths(0, "labels");
  (*update.mutable_job()->mutable_labels())["Team"] = "x";
  EXPECT_EQ(services::ReasonOf(Call(&Stub::UpdateJob, update).status()), INVALID_FIELD);
}

TEST_F(JobVerbsTest, DeleteForgetsAJobThatReleasedNothing) {
  v1::CreateJobRequest request = ExampleRequest();
  request.mutable_spec()->set_extract_only(true);
  request.mutable_spec()->clear_student();
  request.mutable_spec()->clear_training();
  ASSERT_TRUE(Create(request).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  ASSERT_TRUE(Call(&Stub::DeleteJob, Named<v1::DeleteJobRequest>("", kRequest)).ok());
  EXPECT_EQ(Get().status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Call(&Stub::DeleteJob, Named<v1::DeleteJobRequest>("", kRequest)).ok())
      << "the first answer again";
  EXPECT_EQ(Call(&Stub::DeleteJob, Named<v1::DeleteJobRequest>()).status().code(),
            absl::StatusCode::kNotFound);
  v1::DeleteJobRequest missing = Named<v1::DeleteJobRequest>();
  missing.set_allow_missing(true);
  EXPECT_TRUE(Call(&Stub::DeleteJob, missing).ok());
  v1::ListJobsRequest list;
  list.set_parent("projects/p");
  EXPECT_EQ(Call(&Stub::ListJobs, list)->jobs_size(), 0);
  EXPECT_FALSE(peers_.entries().empty()) << "the ledger keeps its entries";
}

TEST_F(JobVerbsTest, JobOfAStudentIsNotDeleted) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  const auto deleted = Call(&Stub::DeleteJob, Named<v1::DeleteJobRequest>());
  EXPECT_EQ(services::ReasonOf(deleted.status()), JOB_STATE);
}

TEST_F(JobVerbsTest, ListFiltersAndOrders) {
  for (const char* id : {"b", "a", "c"}) {
    v1::CreateJobRequest request = ExampleRequest(id);
    request.mutable_spec()->mutable_student()->set_name("Example-" + std::string(id));
    if (std::string(id) == "c") request.mutable_spec()->set_teacher("other");
    ASSERT_TRUE(Create(request).ok());
    Await(HasEnded, "projects/p/jobs/" + std::string(id));
  }
  const auto names = [&](const std::string& filter, const std::string& order) {
    v1::ListJobsRequest request;
    request.set_parent("projects/p");
    request.set_filter(filter);
    request.set_order_by(order);
    request.set_page_size(1);
    std::string ids;
    do {
      const auto page = Call(&Stub::ListJobs, request);
      if (!page.ok()) return std::string(page.status().message());
      for (const auto& job : page->jobs()) ids += job.name().back();
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return ids;
  };
  EXPECT_EQ(names("", ""), "cab");
  EXPECT_EQ(names("", "create_time"), "bac");
  EXPECT_EQ(names("", "name"), "abc");
  EXPECT_EQ(names("", "name desc"), "cba");
  EXPECT_EQ(names("state = SUCCEEDED", "name"), "ab");
  EXPECT_EQ(names("spec.teacher = other OR name = \"*/b\"", "name"), "bc");
  EXPECT_NE(names("spec.prompts:x", "").find("at byte 1"), std::string::npos);
  EXPECT_NE(names("", "progress.loss").find("wanted one of"), std::string::npos);
}

TEST_F(JobVerbsTest, QueuedJobSaysItsPlace) {
  go_ = false;
  CreateHeld();  // holds one of the slots
  for (int i = 0; i < 9; ++i) {
    v1::CreateJobRequest request = ExampleRequest("more-" + std::to_string(i));
    request.mutable_spec()->mutable_student()->set_name("More-" + std::to_string(i));
    ASSERT_TRUE(Create(request).ok());
  }
  v1::Job last;
  for (int tries = 0; tries < 2000 && last.queue_position() != 2; ++tries) {
    last = *Get("projects/p/jobs/more-8");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(last.queue_position(), 2) << "8 slots, one held, 7 others: two wait";
  EXPECT_EQ(last.blocking_resource(), "server/job-slots");
  EXPECT_EQ(last.state_reason(), "WAITING_FOR_JOB_SLOT");
  EXPECT_FALSE(last.has_estimated_start_time()) << "not known, not guessed";
  go_ = true;
  EXPECT_EQ(Await(HasEnded, "projects/p/jobs/more-8").state(), v1::Job::STATE_SUCCEEDED);
}

TEST_F(JobVerbsTest, PlanSaysWhatWouldBlockAndWhatItWouldUse) {
  v1::CreateJobRequest request = ExampleRequest();
  request.set_validate_only(true);
  request.mutable_spec()->mutable_prompts(1)->set_text("review this");
  auto planned = Create(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  const v1::JobPlan& plan = planned->plan();
  EXPECT_EQ(plan.job().effect(), "allow");
  int in_review = 0;
  for (const auto& group : plan.groups()) {
    if (group.decision().effect() == "review") in_review += static_cast<int>(group.prompt_count());
  }
  EXPECT_EQ(in_review, 1);
  EXPECT_EQ(plan.call_count(), 4);
  EXPECT_EQ(plan.completion_tokens_max(), 4 * request.spec().sampling().max_tokens());
  EXPECT_GT(plan.prompt_tokens(), 0);
  EXPECT_FALSE(plan.has_completion_tokens_expected()) << "nothing is known yet";
  EXPECT_FALSE(plan.has_extraction_time());
  EXPECT_EQ(plan.training_tokens(),
            request.spec().training().steps() * request.spec().training().batch_tokens());
  EXPECT_FALSE(plan.basis().empty());
  EXPECT_TRUE(peers_.extracts().empty());
  EXPECT_TRUE(peers_.entries().empty()) << "nothing is entered";
  EXPECT_EQ(Get().status().code(), absl::StatusCode::kNotFound);

  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  planned = Create(request);
  ASSERT_TRUE(planned.ok());
  EXPECT_EQ(planned->plan().completion_tokens_expected(), 28) << "7 tokens for each of 4, as the job before";
  EXPECT_TRUE(planned->plan().has_extraction_time());
}

TEST_F(JobVerbsTest, PlanOfARefusedJobIsTheRefusal) {
  peers_.job_effect = "review";
  peers_.job_missing = {"student.competition.providers"};
  v1::CreateJobRequest request = ExampleRequest();
  request.set_validate_only(true);
  const auto refused = Create(request);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(refused.status()), POLICY_REVIEW);
  EXPECT_NE(refused.status().message().find("clause 2.1"), std::string::npos);
  EXPECT_NE(refused.status().message().find("student.competition.providers"), std::string::npos);
  EXPECT_TRUE(refused.status().GetPayload("type.googleapis.com/google.rpc.PreconditionFailure").has_value());
  EXPECT_TRUE(peers_.entries().empty());
}

TEST_F(JobVerbsTest, LogOutlivesTheProcessAndHoldsNoText) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  Kill();
  Start();
  v1::GetJobLogRequest request;
  request.set_name(kName);
  request.set_page_size(3);
  std::vector<v1::JobLogLine> lines;
  do {
    const auto page = Call(&Stub::GetJobLog, request);
    ASSERT_TRUE(page.ok()) << page.status();
    lines.insert(lines.end(), page->lines().begin(), page->lines().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  ASSERT_GE(lines.size(), 6u);
  EXPECT_EQ(lines.front().text(), "accepted");
  EXPECT_EQ(lines.back().text(), "released");
  int64_t before = 0;
  const v1::CreateJobRequest example = ExampleRequest();
  for (const v1::JobLogLine& line : lines) {
    EXPECT_GT(line.sequence(), before);
    before = line.sequence();
    for (const auto& prompt : example.spec().prompts())
      EXPECT_EQ(line.text().find(prompt.text()), std::string::npos) << line.text();
    EXPECT_EQ(line.text().find("answer to"), std::string::npos);
  }
  request.set_page_token("00");
  EXPECT_EQ(services::ReasonOf(Call(&Stub::GetJobLog, request).status()), PAGE_TOKEN_INVALID);
}

TEST_F(JobVerbsTest, WatchedLogEndsWithTheJobAndResumes) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  Await();
  const auto watch = [&](const std::string& token, std::string* last) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::WatchJobLogRequest request;
    request.set_name(kName);
    request.set_resume_token(token);
    auto reader = client_->WatchJobLog(&context, request);
    v1::WatchJobLogResponse message;
    int lines = 0;
    while (reader->Read(&message)) {
      lines += message.lines_size();
      *last = message.resume_token();
    }
    EXPECT_TRUE(reader->Finish().ok());
    return lines;
  };
  std::string token, ignored;
  EXPECT_GE(watch("", &token), 6);
  EXPECT_EQ(watch(token, &ignored), 0);
}

class ReviewTest : public JobVerbsTest {
 protected:
  ReviewTest() {
    v1::CreateJobRequest request = ExampleRequest();
    for (int i = 0; i < 3; ++i)
      request.mutable_spec()->mutable_prompts(i)->set_text("review " + std::to_string(i));
    Kill();
    caller_ = "spiffe://example/ann";
    Start();
    EXPECT_TRUE(Create(request).ok());
    EXPECT_EQ(Await().state(), v1::Job::STATE_AWAITING_REVIEW);
    caller_ = "spiffe://example/bob";
  }

  std::vector<ledger::v1::Sample> InReview() {
    v1::ListSamplesRequest request;
    request.set_parent(kName);
    std::vector<ledger::v1::Sample> samples;
    const auto page = Call(&Stub::ListSamples, request);
    EXPECT_TRUE(page.ok()) << page.status();
    for (const auto& sample : page->samples()) {
      if (sample.standing() == ledger::v1::Sample::STANDING_IN_REVIEW) samples.push_back(sample);
    }
    return samples;
  }

  absl::StatusOr<ledger::v1::Sample> Approve(const std::string& name, const std::string& etag = "",
                                             const std::string& id = "",
                                             const std::string& reason = "checked") {
    v1::ApproveSampleRequest request;
    request.set_name(name);
    request.set_reason(reason);
    request.set_etag(etag);
    request.set_request_id(id);
    return Call(&Stub::ApproveSample, request);
  }
};

TEST_F(ReviewTest, ApprovedSamplesLetTheJobGoOn) {
  EXPECT_EQ(Get()->submitter(), "spiffe://example/ann");
  const auto waiting = InReview();
  ASSERT_EQ(waiting.size(), 3u);
  const auto approved = Approve(waiting[0].name(), waiting[0].etag());
  ASSERT_TRUE(approved.ok()) << approved.status();
  EXPECT_EQ(approved->standing(), ledger::v1::Sample::STANDING_ADMITTED);
  v1::RejectSampleRequest reject;
  reject.set_name(waiting[1].name());
  reject.set_reason("names a person");
  const auto rejected = Call(&Stub::RejectSample, reject);
  ASSERT_TRUE(rejected.ok()) << rejected.status();
  EXPECT_EQ(rejected->standing(), ledger::v1::Sample::STANDING_REJECTED);
  const auto entries = peers_.entries(ledger::v1::ENTRY_KIND_REVIEW);
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(ledger::ReviewStatement::Parse(entries[0].statements[0])->reviewer, "spiffe://example/bob");
  ASSERT_TRUE(Call(&Stub::ResumeJob, Named<v1::ResumeJobRequest>()).ok());
  const v1::Job job = AwaitState(v1::Job::STATE_SUCCEEDED);
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
}

TEST_F(ReviewTest, SubmitterDoesNotReview) {
  caller_ = "spiffe://example/ann";
  const auto refused = Approve(InReview()[0].name());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(services::ReasonOf(refused.status()), SEPARATION_OF_DUTIES);
  EXPECT_TRUE(peers_.entries(ledger::v1::ENTRY_KIND_REVIEW).empty());
}

TEST_F(ReviewTest, RepeatIsOneReviewAndAnotherBodyIsRefused) {
  const std::string name = InReview()[0].name();
  ASSERT_TRUE(Approve(name, "", kRequest).ok());
  ASSERT_TRUE(Approve(name, "", kRequest).ok());
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_REVIEW).size(), 1u);
  const auto other = Approve(name, "", kRequest, "another reason");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(services::ReasonOf(other.status()), REQUEST_ID_REUSED);
}

TEST_F(ReviewTest, StaleEtagAndWrongSamplesAreRefused) {
  const auto waiting = InReview();
  ASSERT_TRUE(Approve(waiting[0].name(), waiting[0].etag()).ok());
  const auto stale = Approve(waiting[0].name(), waiting[0].etag());
  EXPECT_EQ(stale.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(services::ReasonOf(stale.status()), ETAG_MISMATCH);
  EXPECT_EQ(Approve(std::string(kName) + "/samples/s999").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(services::ReasonOf(Approve(std::string(kName) + "/samples/s1", "", "", "").status()),
            INVALID_FIELD);
  EXPECT_EQ(services::ReasonOf(Approve("projects/p/jobs/example").status()), INVALID_FIELD);
  // The one that policy allowed needs nobody.
  v1::ListSamplesRequest list;
  list.set_parent(kName);
  const auto samples = Call(&Stub::ListSamples, list);
  for (const auto& sample : samples->samples()) {
    if (sample.effect() != "allow") continue;
    EXPECT_EQ(services::ReasonOf(Approve(sample.name()).status()), SAMPLE_NOT_IN_REVIEW);
  }
}

TEST_F(JobVerbsTest, StudentsAreResources) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  auto students = student::v1::StudentService::NewStub(server_->InProcessChannel({}));
  student::v1::ListStudentsRequest list;
  list.set_parent("projects/p");
  student::v1::ListStudentsResponse listed;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(students->ListStudents(&context, list, &listed).ok());
  }
  ASSERT_EQ(listed.students_size(), 1);
  EXPECT_EQ(listed.students(0).name(), "projects/p/students/Example-1");
  EXPECT_EQ(listed.students(0).job(), kName);
  student::v1::GetStudentVersionRequest get;
  get.set_name(listed.students(0).newest_version());
  student::v1::StudentVersion version;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(students->GetStudentVersion(&context, get, &version).ok());
  }
  EXPECT_EQ(version.release_entry(), Get()->entries().release());
  EXPECT_GT(version.files_size(), 0);
  get.set_name("projects/p/students/Example-1/versions/v2");
  grpc::ClientContext context;
  EXPECT_EQ(students->GetStudentVersion(&context, get, &version).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace retort::jobs
