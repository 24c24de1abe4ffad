#include "services/teacher/capture.h"

#include <gtest/gtest.h>

#include <limits>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/log.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using std::chrono::system_clock;

static_assert(kSamplePayloadBytesMax == ledger::kPayloadBytesMax,
              "what is captured must fit into the ledger");

teacher::CompletionRequest Question(int max_tokens, int top_logprobs) {
  teacher::CompletionRequest question;
  question.messages = {{"system", "S"}, {"user", "U"}};
  question.sampling.max_tokens = max_tokens;
  question.sampling.top_logprobs = top_logprobs;
  return question;
}

// As large as a local answer of that many tokens can be, with ids of three bytes.
teacher::Completion LargestLocalAnswer(int tokens, uint32_t k) {
  teacher::Completion answer;
  answer.text = std::string(static_cast<size_t>(tokens) * 128, 'x');
  teacher::TokenTrace trace;
  trace.vocabulary_size = 1 << 21;
  const auto n = static_cast<size_t>(tokens);
  trace.k = k;
  trace.completion_ids.assign(n, (1 << 21) - 1);
  trace.completion_logprobs.assign(n, -1);
  trace.tail_logprobs.assign(n, -1);
  trace.top_ids.assign(n * k, (1 << 21) - 1);
  trace.top_logprobs.assign(n * k, -1);
  answer.trace = trace;
  return answer;
}

TEST(CheckPayloadFitsTest, HoldsForTheLargestLocalAnswer) {
  int tokens = 8192;
  while (!CheckPayloadFits(Question(tokens, 64), true).ok()) --tokens;
  EXPECT_GT(tokens, 4096);
  const std::string payload = SerialisePayload(Question(tokens, 64), LargestLocalAnswer(tokens, 64));
  EXPECT_LE(payload.size(), kSamplePayloadBytesMax);
  EXPECT_GT(payload.size(), kSamplePayloadBytesMax * 9 / 10);  // and it refuses little that would fit
}

TEST(CheckPayloadFitsTest, RefusesBeforeAsking) {
  const absl::Status refused = CheckPayloadFits(Question(8192, 20), false);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(refused), LIMIT_EXCEEDED);
  EXPECT_TRUE(CheckPayloadFits(Question(1024, 20), false).ok());
  EXPECT_TRUE(CheckPayloadFits(Question(7000, 0), false).ok());
}

TEST(SerialisePayloadTest, KeepsEverything) {
  teacher::Completion answer;
  answer.text = "Hello";
  answer.raw_request = std::string("{\0}", 3);
  answer.raw_response = "\xFF\xFE";
  teacher::TokenTrace trace;
  trace.tokenizer_sha256.fill(7);
  trace.vocabulary_size = 100;
  trace.prompt_ids = {1, 2, 3};
  trace.completion_ids = {4, 5};
  trace.completion_logprobs = {-0.5f, -1.5f};
  trace.k = 1;
  trace.top_ids = {4, 6};
  trace.top_logprobs = {-0.5f, -0.25f};
  trace.tail_logprobs = {-0.75f, -std::numeric_limits<float>::infinity()};
  answer.trace = trace;
  answer.positions = {{{"\xE2\x82", -1.0f}, {{"\xE2\x82", -1.0f}, {"x", -2.0f}}}};
  teacher::v1::SamplePayload read;
  ASSERT_TRUE(read.ParseFromString(SerialisePayload(Question(2, 1), answer)));
  ASSERT_EQ(read.messages_size(), 2);
  EXPECT_EQ(read.messages(0).role(), "system");
  EXPECT_EQ(read.messages(1).content(), "U");
  EXPECT_EQ(read.completion(), "Hello");
  EXPECT_EQ(read.raw_request(), answer.raw_request);
  EXPECT_EQ(read.raw_response(), answer.raw_response);
  EXPECT_EQ(read.trace().tokenizer_sha256(), std::string(32, 7));
  EXPECT_EQ(read.trace().vocabulary_size(), 100u);
  EXPECT_EQ(read.trace().prompt_ids_size(), 3);
  EXPECT_EQ(read.trace().completion_ids(1), 5u);
  EXPECT_EQ(read.trace().completion_logprobs(1), -1.5f);
  EXPECT_EQ(read.trace().k(), 1u);
  EXPECT_EQ(read.trace().top_ids(1), 6u);
  EXPECT_EQ(read.trace().top_logprobs(1), -0.25f);
  EXPECT_EQ(read.trace().tail_logprobs(1), -std::numeric_limits<float>::infinity());
  ASSERT_EQ(read.positions_size(), 1);
  EXPECT_EQ(read.positions(0).chosen().token(), "\xE2\x82");
  EXPECT_EQ(read.positions(0).top(1).logprob(), -2.0f);
}

TEST(MakeCaptureTest, StatesWhatWasAskedAndAnswered) {
  ExtractCall call;
  call.project = "projects/demo";
  call.teacher_id = "t1";
  call.request_id = "6f9619ff-8b86-8011-b42d-00c04fc964ff";
  call.question = Question(64, 5);
  call.question.sampling.temperature = 0.7;
  call.question.sampling.seed = 42;
  teacher::v1::SampleKey key;
  key.set_job("projects/demo/jobs/j1");
  key.set_job_uid("6f9619ff-8b86-4011-b42d-00c04fc964ff");
  key.set_prompt_id("p1");
  key.set_index(3);
  key.set_attempt(2);
  key.set_split("held_out");
  const TeacherDescription description{"t1",  "openai", teacher::v1::CHANNEL_FIRST_PARTY_API, "gpt-x",
                                       "api", "US",     "2026-01-31T00:00:00.000000Z"};
  const teacher::TeacherIdentity identity{"https://api.example.com", "", "", 20};
  teacher::Completion answer;
  answer.text = "text that must not be in the statement";
  answer.finish_reason = teacher::FinishReason::kLength;
  answer.model_answered = "gpt-x-2026-01-01";
  answer.response_id = "chatcmpl-1";
  answer.prompt_tokens = 9;
  answer.completion_tokens = 64;
  answer.http_status = 200;
  answer.transport_retries = 1;
  const std::string salt(32, 's');
  const std::string payload = SerialisePayload(call.question, answer);
  const system_clock::time_point start{
      std::chrono::microseconds(1767323045000006)};  // 2026-01-02T03:04:05.000006Z
  const auto capture = MakeCapture(
      {call, key, description, identity, answer, payload, salt, start, start + std::chrono::seconds(2)});

  const std::string json = capture.ToJson();
  const auto parsed = ledger::CaptureStatement::Parse(json);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToJson(), json);
  EXPECT_EQ(parsed->teacher, "projects/demo/teachers/t1");
  EXPECT_EQ(parsed->channel, "first_party_api");
  EXPECT_EQ(parsed->model_requested, "gpt-x");
  EXPECT_EQ(parsed->model_answered, "gpt-x-2026-01-01");
  EXPECT_EQ(parsed->temperature, "0.7");
  EXPECT_EQ(parsed->top_p, "1");
  EXPECT_EQ(parsed->seed, 42u);
  EXPECT_EQ(parsed->attempt, 2);
  EXPECT_EQ(parsed->split, "held_out");
  EXPECT_EQ(parsed->requested_time, "2026-01-02T03:04:05.000006Z");
  EXPECT_EQ(parsed->completed_time, "2026-01-02T03:04:07.000006Z");
  EXPECT_EQ(parsed->finish_reason, "length");
  EXPECT_EQ(parsed->transport_retries, 1);
  EXPECT_EQ(parsed->payload_digest, ledger::HexEncode(ledger::SaltedDigest(salt, payload)));
  EXPECT_EQ(parsed->payload_bytes, static_cast<int64_t>(payload.size()));
  EXPECT_EQ(json.find("must not be"), std::string::npos);
}

TEST(StatementFormsTest, TimesAndDecimals) {
  EXPECT_EQ(StatementTime(system_clock::time_point{}), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(StatementTime(system_clock::time_point{} - std::chrono::microseconds(1)),
            "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(StatementDecimal(0), "0");
  EXPECT_EQ(StatementDecimal(0.1), "0.1");
  EXPECT_EQ(StatementDecimal(2), "2");
  EXPECT_EQ(StatementDecimal(1e-7), "1e-07");
}

}  // namespace
}  // namespace retort::services
