#include "services/teacher/teacher_service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "ledger/uuid.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr char kUid[] = "6f9619ff-8b86-4011-b42d-00c04fc964ff";

// Answers what the test says.
class FakeTeacher final : public teacher::Teacher {
 public:
  using Answer = std::function<absl::StatusOr<teacher::Completion>(const teacher::CompletionRequest&,
                                                                   const teacher::CallLimits&)>;
  explicit FakeTeacher(Answer answer) : answer_(std::move(answer)) {}
  absl::StatusOr<teacher::Completion> Complete(const teacher::CompletionRequest& request,
                                               const teacher::CallLimits& limits) override {
    return answer_(request, limits);
  }
  const teacher::TeacherIdentity& identity() const override { return identity_; }

 private:
  const Answer answer_;
  const teacher::TeacherIdentity identity_{"local", std::string(64, 'a'), std::string(64, 'b'), 64};
};

teacher::Completion Hello() {
  teacher::Completion answer;
  answer.text = "Hello.";
  answer.model_answered = "smol";
  answer.completion_tokens = 2;
  answer.prompt_tokens = 5;
  return answer;
}

class TeacherServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto registry = std::make_unique<TeacherRegistry>();
    Add(*registry, "embedded", [this]() -> absl::StatusOr<std::unique_ptr<teacher::Teacher>> {
      ++made_;
      return std::make_unique<FakeTeacher>(
          [this](const auto& request, const auto& limits) { return answer_(request, limits); });
    });
    Add(*registry, "keyless", []() -> absl::StatusOr<std::unique_ptr<teacher::Teacher>> {
      return absl::FailedPreconditionError("environment variable X is not set");
    });
    auto key = ledger::SigningKey::FromSeed("test/teacher", std::string(32, 'k'));
    ASSERT_TRUE(key.ok());
    vkey_ = key->vkey();
    service_ = std::make_unique<TeacherServiceImpl>(
        std::move(registry), *std::move(key), PageTokens(std::string(32, 'p')),
        [] { return system_clock::time_point(std::chrono::seconds(1767323045)); });
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = teacher::v1::TeacherService::NewStub(server_->InProcessChannel({}));
  }

  static void Add(TeacherRegistry& registry, const std::string& id, TeacherRegistry::Maker maker) {
    ASSERT_TRUE(registry
                    .Add({id, "huggingface", teacher::v1::CHANNEL_OPEN_WEIGHTS, "SmolLM2", "", "",
                          "2026-01-31T00:00:00.000000Z"},
                         std::move(maker))
                    .ok());
  }

  static teacher::v1::ExtractRequest Request(const std::string& teacher = "embedded") {
    teacher::v1::ExtractRequest request;
    request.set_teacher("projects/demo/teachers/" + teacher);
    request.mutable_key()->set_job("projects/demo/jobs/j1");
    request.mutable_key()->set_job_uid(kUid);
    request.mutable_key()->set_prompt_id("p-1");
    request.mutable_key()->set_attempt(1);
    request.mutable_key()->set_split("train");
    auto* message = request.add_messages();
    message->set_role("user");
    message->set_content("Say hello.");
    request.mutable_sampling()->set_top_p(1);
    request.mutable_sampling()->set_max_tokens(16);
    return request;
  }

  absl::StatusOr<teacher::v1::ExtractResponse> Extract(const teacher::v1::ExtractRequest& request,
                                                       milliseconds deadline = milliseconds(10'000)) {
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + deadline);
    teacher::v1::ExtractResponse response;
    const grpc::Status status = stub_->Extract(&context, request, &response);
    if (!status.ok()) return FromGrpcStatus(status);
    return response;
  }

  FakeTeacher::Answer answer_ = [](const auto&, const auto&) { return Hello(); };
  std::atomic<int> made_{0};
  std::string vkey_;
  std::unique_ptr<TeacherServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<teacher::v1::TeacherService::Stub> stub_;
};

TEST_F(TeacherServiceTest, ExtractReturnsASignedCaptureOfThePayload) {
  std::string asked_id;
  answer_ = [&asked_id](const teacher::CompletionRequest& request, const teacher::CallLimits&) {
    asked_id = request.request_id;
    return Hello();
  };
  const auto response = Extract(Request());
  ASSERT_TRUE(response.ok()) << response.status();
  const auto capture = ledger::CaptureStatement::Parse(response->capture());
  ASSERT_TRUE(capture.ok()) << capture.status();
  EXPECT_EQ(capture->request_id, ledger::SampleRequestId(kUid, 0, 1));
  EXPECT_EQ(asked_id, capture->request_id);
  EXPECT_EQ(capture->weights_sha256, std::string(64, 'a'));
  EXPECT_EQ(capture->tokenizer_sha256, std::string(64, 'b'));
  EXPECT_EQ(capture->endpoint, "local");
  EXPECT_EQ(capture->requested_time, "2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(capture->payload_digest,
            ledger::HexEncode(ledger::SaltedDigest(response->salt(), response->payload())));
  teacher::v1::SamplePayload payload;
  ASSERT_TRUE(payload.ParseFromString(response->payload()));
  EXPECT_EQ(payload.completion(), "Hello.");
  EXPECT_EQ(response->completion_tokens(), 2);

  ledger::SignedStatement statement;
  statement.statement = response->capture();
  ASSERT_EQ(response->signature().size(), 64u);
  ASSERT_EQ(response->key_id().size(), 32u);
  std::copy_n(response->signature().begin(), 64, statement.signature.begin());
  std::copy_n(response->key_id().begin(), 32, statement.key_id.begin());
  const auto key = ledger::VerifyingKey::Parse(vkey_);
  ASSERT_TRUE(key.ok());
  EXPECT_TRUE(ledger::VerifyStatement(*key, ledger::StatementType::kCapture, statement).ok());
}

TEST_F(TeacherServiceTest, EverySaltIsFresh) {
  const auto one = Extract(Request()), two = Extract(Request());
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->salt().size(), 32u);
  EXPECT_NE(one->salt(), two->salt());
  EXPECT_EQ(one->payload(), two->payload());
}

TEST_F(TeacherServiceTest, TeacherErrorsKeepCodeAndGetAReason) {
  answer_ = [](const auto&, const auto&) {
    return absl::UnauthenticatedError("the teacher answered 401: the key is refused");
  };
  const absl::Status status = Extract(Request()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(ReasonOf(status), TEACHER_UNAUTHORISED);
  EXPECT_EQ(status.message(), "teacher embedded: the teacher answered 401: the key is refused");
}

TEST_F(TeacherServiceTest, UnknownAndUnreadyTeachers) {
  const absl::Status unknown = Extract(Request("nobody")).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(unknown), NOT_FOUND);
  const absl::Status unready = Extract(Request("keyless")).status();
  EXPECT_EQ(unready.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(unready), TEACHER_NOT_READY);
}

TEST_F(TeacherServiceTest, RefusesWhatCannotBeStored) {
  auto request = Request();
  request.mutable_sampling()->set_max_tokens(8192);
  request.mutable_sampling()->set_top_logprobs(64);
  bool asked = false;
  answer_ = [&asked](const auto&, const auto&) {
    asked = true;
    return Hello();
  };
  EXPECT_EQ(ReasonOf(Extract(request).status()), LIMIT_EXCEEDED);
  EXPECT_FALSE(asked);
  answer_ = [](const auto&, const auto&) {
    teacher::Completion answer = Hello();
    answer.raw_response = std::string((3 << 20) + 1, 'x');
    return answer;
  };
  const absl::Status status = Extract(Request()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), LIMIT_EXCEEDED);
}

TEST_F(TeacherServiceTest, RefusesABadRequest) {
  auto request = Request();
  request.mutable_key()->set_attempt(0);
  EXPECT_EQ(ReasonOf(Extract(request).status()), INVALID_FIELD);
}

TEST_F(TeacherServiceTest, DeadlineReachesTheTeacher) {
  std::atomic<bool> in_time{false};
  std::atomic<bool> cancelled{false};
  answer_ = [&](const auto&, const teacher::CallLimits& limits) -> absl::StatusOr<teacher::Completion> {
    in_time = limits.deadline < std::chrono::steady_clock::now() + milliseconds(60);
    while (!limits.cancelled()) std::this_thread::sleep_for(milliseconds(1));
    cancelled = true;
    return absl::CancelledError("cancelled");
  };
  EXPECT_EQ(Extract(Request(), milliseconds(40)).status().code(), absl::StatusCode::kDeadlineExceeded);
  server_->Shutdown();  // waits for the handler
  EXPECT_TRUE(in_time);
  EXPECT_TRUE(cancelled);
}

TEST_F(TeacherServiceTest, CancellationReachesTheTeacher) {
  std::atomic<bool> asked{false};
  std::atomic<bool> cancelled{false};
  answer_ = [&](const auto&, const teacher::CallLimits& limits) -> absl::StatusOr<teacher::Completion> {
    asked = true;
    while (!limits.cancelled()) std::this_thread::sleep_for(milliseconds(1));
    cancelled = true;
    return absl::CancelledError("cancelled");
  };
  grpc::ClientContext context;
  std::thread canceller([&] {
    while (!asked) std::this_thread::yield();
    context.TryCancel();
  });
  teacher::v1::ExtractResponse response;
  EXPECT_EQ(stub_->Extract(&context, Request(), &response).error_code(), grpc::StatusCode::CANCELLED);
  canceller.join();
  server_->Shutdown();
  EXPECT_TRUE(cancelled);
}

TEST_F(TeacherServiceTest, GetSaysWhatATeacherIs) {
  grpc::ClientContext context;
  teacher::v1::GetTeacherRequest request;
  request.set_name("projects/demo/teachers/embedded");
  teacher::v1::Teacher teacher;
  ASSERT_TRUE(stub_->GetTeacher(&context, request, &teacher).ok());
  EXPECT_EQ(teacher.name(), "projects/demo/teachers/embedded");
  EXPECT_EQ(teacher.provider(), "huggingface");
  EXPECT_EQ(teacher.channel(), teacher::v1::CHANNEL_OPEN_WEIGHTS);
  EXPECT_EQ(teacher.endpoint(), "local");
  EXPECT_EQ(teacher.weights_sha256(), std::string(64, 'a'));
  EXPECT_EQ(teacher.top_logprobs_max(), 64);
  EXPECT_EQ(teacher.acquired_time().seconds(), 1769817600);
  EXPECT_EQ(teacher.unavailable_reason(), "");
}

TEST_F(TeacherServiceTest, GetOfAnUnreadyOrUnknownTeacher) {
  grpc::ClientContext first, second;
  teacher::v1::GetTeacherRequest request;
  request.set_name("projects/demo/teachers/keyless");
  teacher::v1::Teacher teacher;
  ASSERT_TRUE(stub_->GetTeacher(&first, request, &teacher).ok());
  EXPECT_EQ(teacher.unavailable_reason(), "environment variable X is not set");
  request.set_name("projects/demo/teachers/nobody");
  EXPECT_EQ(stub_->GetTeacher(&second, request, &teacher).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(TeacherServiceTest, ListGoesPageByPage) {
  const auto list = [this](const std::string& parent, const std::string& token,
                           teacher::v1::ListTeachersResponse* response) {
    grpc::ClientContext context;
    teacher::v1::ListTeachersRequest request;
    request.set_parent(parent);
    request.set_page_size(1);
    request.set_page_token(token);
    return stub_->ListTeachers(&context, request, response);
  };
  teacher::v1::ListTeachersResponse first, second, other;
  ASSERT_TRUE(list("projects/demo", "", &first).ok());
  ASSERT_EQ(first.teachers_size(), 1);
  EXPECT_EQ(first.teachers(0).name(), "projects/demo/teachers/embedded");
  ASSERT_NE(first.next_page_token(), "");
  ASSERT_TRUE(list("projects/demo", first.next_page_token(), &second).ok());
  ASSERT_EQ(second.teachers_size(), 1);
  EXPECT_EQ(second.teachers(0).name(), "projects/demo/teachers/keyless");
  EXPECT_EQ(second.next_page_token(), "");
  EXPECT_EQ(FromGrpcStatus(list("projects/demo2", first.next_page_token(), &other)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(FromGrpcStatus(list("projects/demo2", first.next_page_token(), &other))),
            PAGE_TOKEN_INVALID);
}

TEST_F(TeacherServiceTest, TeacherIsMadeOnceForManyCalls) {
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([this, &good] { good += Extract(Request()).ok() ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 6);
  EXPECT_EQ(made_, 1);
}

}  // namespace
}  // namespace retort::services
