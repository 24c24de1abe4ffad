#include "services/teacher/validate.h"

#include <gtest/gtest.h>

#include "ledger/uuid.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr char kJobUid[] = "6f9619ff-8b86-4011-b42d-00c04fc964ff";

teacher::v1::ExtractRequest GoodRequest() {
  teacher::v1::ExtractRequest request;
  request.set_teacher("projects/demo/teachers/embedded");
  request.mutable_key()->set_job("projects/demo/jobs/j1");
  request.mutable_key()->set_job_uid(kJobUid);
  request.mutable_key()->set_prompt_id("p-1");
  request.mutable_key()->set_index(7);
  request.mutable_key()->set_attempt(2);
  request.mutable_key()->set_split("train");
  auto* message = request.add_messages();
  message->set_role("user");
  message->set_content("TOPSECRET prompt");
  request.mutable_sampling()->set_temperature(0.5);
  request.mutable_sampling()->set_top_p(0.9);
  request.mutable_sampling()->set_seed(3);
  request.mutable_sampling()->set_max_tokens(16);
  request.mutable_sampling()->set_top_logprobs(4);
  request.mutable_sampling()->add_stop("END");
  return request;
}

TEST(ValidateExtractTest, TakesARequestApart) {
  const auto call = Validate(GoodRequest());
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->project, "projects/demo");
  EXPECT_EQ(call->teacher_id, "embedded");
  EXPECT_EQ(call->request_id, ledger::SampleRequestId(kJobUid, 7, 2));
  EXPECT_EQ(call->question.request_id, call->request_id);
  ASSERT_EQ(call->question.messages.size(), 1u);
  EXPECT_EQ(call->question.messages[0].content, "TOPSECRET prompt");
  EXPECT_EQ(call->question.sampling.temperature, 0.5);
  EXPECT_EQ(call->question.sampling.top_p, 0.9);
  EXPECT_EQ(call->question.sampling.seed, 3u);
  EXPECT_EQ(call->question.sampling.max_tokens, 16);
  EXPECT_EQ(call->question.sampling.top_logprobs, 4);
  EXPECT_EQ(call->question.sampling.stop, std::vector<std::string>{"END"});
}

TEST(ValidateExtractTest, RefusesAndNamesTheField) {
  struct Row {
    const char* field;
    void (*change)(teacher::v1::ExtractRequest&);
  };
  const Row rows[] = {
      {"teacher", [](auto& r) { r.clear_teacher(); }},
      {"teacher", [](auto& r) { r.set_teacher("projects/demo/teachers/UPPER"); }},
      {"key.job", [](auto& r) { r.mutable_key()->clear_job(); }},
      {"key.job", [](auto& r) { r.mutable_key()->set_job("projects/other/jobs/j1"); }},
      {"key.job_uid", [](auto& r) { r.mutable_key()->set_job_uid("x"); }},
      {"key.prompt_id", [](auto& r) { r.mutable_key()->clear_prompt_id(); }},
      {"key.prompt_id", [](auto& r) { r.mutable_key()->set_prompt_id("a b"); }},
      {"key.prompt_id", [](auto& r) { r.mutable_key()->set_prompt_id(std::string(64, 'a')); }},
      {"key.index", [](auto& r) { r.mutable_key()->set_index(-1); }},
      {"key.attempt", [](auto& r) { r.mutable_key()->set_attempt(0); }},
      {"key.split", [](auto& r) { r.mutable_key()->set_split("test"); }},
      {"sampling", [](auto& r) { r.clear_sampling(); }},
      {"sampling.max_tokens", [](auto& r) { r.mutable_sampling()->set_max_tokens(0); }},
      {"sampling.top_p", [](auto& r) { r.mutable_sampling()->set_top_p(0); }},
      {"messages", [](auto& r) { r.clear_messages(); }},
      {"messages[0].role", [](auto& r) { r.mutable_messages(0)->set_role("tool"); }},
  };
  for (const Row& row : rows) {
    auto request = GoodRequest();
    row.change(request);
    const absl::Status status = Validate(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << row.field;
    EXPECT_EQ(ReasonOf(status), INVALID_FIELD) << row.field;
    EXPECT_EQ(status.message().substr(0, std::string(row.field).size() + 1), std::string(row.field) + ":")
        << status;
    EXPECT_EQ(status.message().find("TOPSECRET"), std::string::npos);
  }
}

TEST(ValidateGetTest, WantsATeacherName) {
  teacher::v1::GetTeacherRequest request;
  request.set_name("projects/demo/teachers/embedded");
  EXPECT_EQ(*Validate(request), "embedded");
  request.set_name("teachers/embedded");
  EXPECT_EQ(Validate(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ValidateListTest, WantsAProject) {
  teacher::v1::ListTeachersRequest request;
  request.set_parent("projects/demo");
  EXPECT_TRUE(Validate(request).ok());
  request.set_parent("projects/demo/jobs/j1");
  EXPECT_EQ(Validate(request).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services
