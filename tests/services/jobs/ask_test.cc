// AskTeacher: the path of a sample for a single question.
#include "tests/services/jobs/service_fixture.h"

namespace retort::jobs {
namespace {

constexpr char kUuid[] = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";

class AskTeacherTest : public JobsServiceFixture {
 protected:
  AskTeacherTest() {
    Start();
    request_.set_teacher("projects/p/teachers/smol");
    auto& message = *request_.add_messages();
    message.set_role("user");
    message.set_content("why?");
    *request_.mutable_sampling() = ExampleSpec().sampling();
  }

  absl::StatusOr<v1::AskTeacherResponse> Ask() {
    return Call(&v1::JobsService::StubInterface::AskTeacher, request_);
  }

  v1::AskTeacherRequest request_;
};

TEST_F(AskTeacherTest, AnswersOnceItIsInTheLedger) {
  const auto answer = Ask();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->completion(), "answer to why?");
  EXPECT_EQ(answer->effect(), "allow");
  EXPECT_EQ(answer->finish_reason(), "stop");
  EXPECT_EQ(answer->completion_tokens(), 7);
  EXPECT_EQ(peers_.entries().at(answer->entry()).kind, ledger::v1::ENTRY_KIND_SAMPLE);
}

TEST_F(AskTeacherTest, DeniedTeacherIsNotAsked) {
  peers_.job_effect = "deny";
  const auto answer = Ask();
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(answer.status()), POLICY_DENIED);
  EXPECT_TRUE(peers_.extracts().empty());
  EXPECT_EQ(peers_.entries(ledger::v1::ENTRY_KIND_DECISION).size(), 1u);
}

TEST_F(AskTeacherTest, RepeatGetsTheSameAnswer) {
  request_.set_request_id(kUuid);
  const auto first = Ask();
  ASSERT_TRUE(first.ok()) << first.status();
  const auto again = Ask();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  EXPECT_EQ(peers_.extracts().size(), 1u);
  request_.mutable_messages(0)->set_content("another question");
  EXPECT_EQ(services::ReasonOf(Ask().status()), REQUEST_ID_REUSED);
}

TEST_F(AskTeacherTest, RepeatAfterARestartDoesNotAskAgain) {
  request_.set_request_id(kUuid);
  ASSERT_TRUE(Ask().ok());
  Kill();
  Start();
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(peers_.extracts().size(), 1u);
}

TEST_F(AskTeacherTest, RepeatAfterAFailureIsTheNextAttempt) {
  request_.set_request_id(kUuid);
  peers_.on_extract = [](const teacher::v1::ExtractRequest& request) {
    return request.key().attempt() == 1 ? PeerError(grpc::StatusCode::DEADLINE_EXCEEDED, TEACHER_TIMEOUT)
                                        : grpc::Status::OK;
  };
  EXPECT_EQ(services::ReasonOf(Ask().status()), TEACHER_TIMEOUT);
  ASSERT_TRUE(Ask().ok());
  EXPECT_EQ(peers_.extracts(), (std::vector<std::pair<int32_t, int32_t>>{{0, 1}, {0, 2}}));
}

TEST_F(AskTeacherTest, ErrorsOfTheTeacherKeepTheirReason) {
  request_.set_teacher("projects/p/teachers/none");
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::jobs
