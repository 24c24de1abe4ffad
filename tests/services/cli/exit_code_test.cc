#include "services/cli/exit_code.h"

#include <gtest/gtest.h>

#include "services/edge/status.h"

namespace retort::services {
namespace {

using retort::jobs::v1::Job;

TEST(ExitCodeTest, FollowsTheCanonicalCode) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("x")), 2);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("x")), 4);
  EXPECT_EQ(ExitCodeOf(absl::UnauthenticatedError("x")), 4);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("x")), 5);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("x")), 6);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("x")), 6);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("x")), 6);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("x")), 7);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("x")), 7);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("x")), 8);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("x")), 130);
}

TEST(ExitCodeTest, PolicyReasonDecidesBeforeTheCode) {
  EXPECT_EQ(ExitCodeOf(WithReason(absl::FailedPreconditionError("x"), POLICY_DENIED)), 3);
  EXPECT_EQ(ExitCodeOf(WithReason(absl::FailedPreconditionError("x"), POLICY_REVIEW)), 3);
  EXPECT_EQ(ExitCodeOf(WithReason(absl::InvalidArgumentError("x"), SIGNATURE_INVALID)), 3);
  EXPECT_EQ(ExitCodeOf(WithReason(absl::InternalError("x"), LEDGER_CORRUPT)), 8);
}

TEST(ExitCodeTest, JobGivesItsOutcome) {
  Job job;
  job.set_state(Job::STATE_SUCCEEDED);
  EXPECT_EQ(ExitCodeOf(job), 0);
  job.set_state(Job::STATE_CANCELLED);
  EXPECT_EQ(ExitCodeOf(job), 1);
  job.set_state(Job::STATE_FAILED);
  job.set_state_reason("POLICY_DENIED");
  EXPECT_EQ(ExitCodeOf(job), 3);
  job.set_state_reason("TEACHER_TIMEOUT");
  EXPECT_EQ(ExitCodeOf(job), 7);
  job.set_state_reason("TRAINING_FAILED");
  EXPECT_EQ(ExitCodeOf(job), 1);
  job.set_state_reason("A_REASON_OF_A_NEWER_SERVER");
  EXPECT_EQ(ExitCodeOf(job), 1);
}

TEST(ExitCodeTest, OnlyThreeStatesHaveEnded) {
  for (int state = 0; state <= 12; ++state) {
    Job job;
    job.set_state(static_cast<Job::State>(state));
    const bool ended =
        state == Job::STATE_SUCCEEDED || state == Job::STATE_FAILED || state == Job::STATE_CANCELLED;
    EXPECT_EQ(HasEnded(job), ended) << state;
  }
}

TEST(ErrorTextTest, NamesReasonAndWhatToDo) {
  const std::string text =
      ErrorText(WithReason(absl::FailedPreconditionError("rule x refuses"), POLICY_DENIED));
  EXPECT_EQ(text.find("error: rule x refuses (POLICY_DENIED)\n  "), 0u) << text;
  EXPECT_EQ(ErrorText(absl::InternalError("broken")), "error: broken");
}

TEST(ErrorTextTest, SaysHowToRunAJobFileAgain) {
  const absl::Status taken = WithReason(
      absl::AlreadyExistsError("spec.student.name: projects/p/students/s belongs to projects/p/jobs/j"),
      ALREADY_EXISTS, {{"name", "projects/p/students/s"}, {"job", "projects/p/jobs/j"}});
  EXPECT_NE(ErrorText(taken).find("retort job create --file FILE --student NAME"), std::string::npos);
  const absl::Status id = WithReason(absl::AlreadyExistsError("job_id: projects/p/jobs/j exists"),
                                     ALREADY_EXISTS, {{"name", "projects/p/jobs/j"}});
  EXPECT_EQ(ErrorText(id).find("--student"), std::string::npos);
  EXPECT_NE(ErrorText(id).find("--id"), std::string::npos);
}

}  // namespace
}  // namespace retort::services
