#include "teacher/openai_chat.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace retort::teacher {
namespace {

using Json = nlohmann::json;
constexpr auto kUnknown = absl::StatusCode::kUnknown;

Json GoodAnswer() {
  return Json::parse(R"({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-2026-01-01",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi \u20ac"},
      "logprobs": {"content": [
        {"token": "Hi", "logprob": -0.25, "bytes": [72, 105],
         "top_logprobs": [{"token": "Yo", "logprob": -2.5, "bytes": [89, 111]}, {"token": "Hi", "logprob": -0.25, "bytes": null}]},
        {"token": " \ufffd", "logprob": -0.5, "bytes": [32, 226, 130], "top_logprobs": []},
        {"token": "\ufffd", "logprob": -9999.0, "bytes": [172],
         "top_logprobs": [{"token": "x", "logprob": -9999.0, "bytes": [120]}, {"token": "y", "logprob": null, "bytes": [121]}]}
      ], "refusal": null}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}})");
}

absl::StatusCode CodeOf(const Json& json, int32_t top_logprobs = 2) {
  return ReadChatResponse(json.dump(), top_logprobs).status().code();
}

// The good answer with the value at a JSON pointer replaced.
Json With(const char* pointer, Json value) {
  Json json = GoodAnswer();
  json[Json::json_pointer(pointer)] = std::move(value);
  return json;
}

TEST(WriteChatRequestTest, SendsEverySamplingField) {
  CompletionRequest request;
  request.messages = {{"system", "S"}, {"user", "a\"b\n\u20ac"}};
  request.sampling = {0.7, 0.95, 42, 64, 5, {"END"}};
  EXPECT_EQ(WriteChatRequest(ChatDialect::kCompatible, "m", request),
            "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\","
            "\"content\":\"a\\\"b\\n\u20ac\"}],"
            "\"temperature\":0.7,\"top_p\":0.95,\"seed\":42,\"max_tokens\":64,\"n\":1,\"stream\":false,"
            "\"logprobs\":true,"
            "\"top_logprobs\":5,\"stop\":[\"END\"]}");
}

TEST(WriteChatRequestTest, OpenAiDialect) {
  CompletionRequest request;
  request.messages = {{"user", "x"}};
  request.sampling.max_tokens = 8;
  EXPECT_EQ(
      WriteChatRequest(ChatDialect::kOpenAi, "m", request),
      R"({"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0.0,"top_p":1.0,"seed":0,)"
      R"("max_completion_tokens":8,"n":1,"stream":false,"logprobs":false,"store":false})");
}

TEST(ReadChatResponseTest, ReadsAWholeAnswer) {
  const auto answer = ReadChatResponse(GoodAnswer().dump(), 2);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->text, "Hi \u20ac");
  EXPECT_EQ(answer->finish_reason, FinishReason::kStop);
  EXPECT_EQ(answer->model_answered, "m-2026-01-01");
  EXPECT_EQ(answer->response_id, "chatcmpl-1");
  EXPECT_EQ(answer->prompt_tokens, 9);
  EXPECT_EQ(answer->completion_tokens, 3);
  EXPECT_FALSE(answer->trace.has_value());
  ASSERT_EQ(answer->positions.size(), 3u);
  const TextPosition& first = answer->positions[0];
  EXPECT_EQ(first.chosen.token, "Hi");
  EXPECT_FLOAT_EQ(first.chosen.logprob, -0.25f);
  ASSERT_EQ(first.top.size(), 2u);
  EXPECT_EQ(first.top[0].token, "Hi");  // most likely first, whatever the order sent; bytes were null
  EXPECT_EQ(first.top[1].token, "Yo");
}

TEST(ReadChatResponseTest, TokensOfOneCharacterKeepTheirBytes) {
  const auto answer = ReadChatResponse(GoodAnswer().dump(), 2);
  ASSERT_TRUE(answer.ok()) << answer.status();
  std::string joined;
  for (const TextPosition& position : answer->positions) joined += position.chosen.token;
  EXPECT_EQ(joined, answer->text);
}

TEST(ReadChatResponseTest, SentinelAndNullAreNoValues) {
  const auto answer = ReadChatResponse(GoodAnswer().dump(), 2);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_TRUE(std::isinf(answer->positions[2].chosen.logprob));
  EXPECT_TRUE(answer->positions[2].top.empty());
}

TEST(ReadChatResponseTest, LogprobsThatWereNotAskedForAreIgnored) {
  EXPECT_TRUE(ReadChatResponse(GoodAnswer().dump(), 0)->positions.empty());
}

TEST(ReadChatResponseTest, LogprobsMayBeMissing) {
  for (const char* pointer : {"/choices/0/logprobs", "/choices/0/logprobs/content"}) {
    const auto answer = ReadChatResponse(With(pointer, nullptr).dump(), 2);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_TRUE(answer->positions.empty());
  }
}

TEST(ReadChatResponseTest, UsageMayBeMissing) {
  Json json = GoodAnswer();
  json.erase("usage");
  const auto answer = ReadChatResponse(json.dump(), 2);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->completion_tokens, 0);
  EXPECT_TRUE(ReadChatResponse(With("/usage", nullptr).dump(), 2).ok());
  EXPECT_TRUE(ReadChatResponse(With("/usage/prompt_tokens", nullptr).dump(), 2).ok());
}

TEST(ReadChatResponseTest, FinishReasons) {
  EXPECT_EQ(ReadChatResponse(With("/choices/0/finish_reason", "length").dump(), 0)->finish_reason,
            FinishReason::kLength);
  EXPECT_EQ(ReadChatResponse(With("/choices/0/finish_reason", "content_filter").dump(), 0)->finish_reason,
            FinishReason::kContentFilter);
  EXPECT_EQ(CodeOf(With("/choices/0/finish_reason", "tool_calls")), kUnknown);
  EXPECT_EQ(CodeOf(With("/choices/0/finish_reason", "function_call")), kUnknown);
  EXPECT_EQ(CodeOf(With("/choices/0/finish_reason", "insufficient_system_resource")), kUnknown);
  EXPECT_EQ(CodeOf(With("/choices/0/finish_reason", nullptr)), kUnknown);
}

TEST(ReadChatResponseTest, RefusalIsKeptApart) {
  Json json = With("/choices/0/message/content", nullptr);
  json["choices"][0]["message"]["refusal"] = "I cannot help with that.";
  const auto answer = ReadChatResponse(json.dump(), 0);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->text, "");
  EXPECT_EQ(answer->finish_reason, FinishReason::kContentFilter);
  EXPECT_EQ(ReadChatResponse(With("/choices/0/message/refusal", "").dump(), 0)->finish_reason,
            FinishReason::kStop);
  EXPECT_EQ(CodeOf(With("/choices/0/message/content", nullptr)), kUnknown);  // nothing and no reason why
}

TEST(ReadChatResponseTest, EmptyTextIsAnAnswer) {
  EXPECT_EQ(ReadChatResponse(With("/choices/0/message/content", "").dump(), 0)->text, "");
}

TEST(ReadChatResponseTest, RefusesOtherTypesEverywhere) {
  const std::pair<const char*, Json> wrong[] = {
      {"/choices", "x"},
      {"/choices", Json::array()},
      {"/choices/0", 1},
      {"/choices/0/message", "x"},
      {"/choices/0/message", nullptr},
      {"/choices/0/message/content", 5},
      {"/choices/0/message/content", Json::array()},
      {"/choices/0/message/refusal", 5},
      {"/choices/0/finish_reason", 5},
      {"/choices/0/logprobs", "x"},
      {"/choices/0/logprobs/content", "x"},
      {"/choices/0/logprobs/content/0", "x"},
      {"/choices/0/logprobs/content/0/token", nullptr},
      {"/choices/0/logprobs/content/0/token", 5},
      {"/choices/0/logprobs/content/0/logprob", "x"},
      {"/choices/0/logprobs/content/0/logprob", 0.5},
      {"/choices/0/logprobs/content/0/bytes", "x"},
      {"/choices/0/logprobs/content/0/bytes", {256}},
      {"/choices/0/logprobs/content/0/bytes", {-1}},
      {"/choices/0/logprobs/content/0/bytes", {1.5}},
      {"/choices/0/logprobs/content/0/top_logprobs", "x"},
      {"/choices/0/logprobs/content/0/top_logprobs",
       Json(std::vector<Json>(65, {{"token", "x"}, {"logprob", -1}}))},
      {"/choices/0/logprobs/content/0/token", std::string(1025, 'x')},
      {"/model", 5},
      {"/model", std::string(257, 'm')},
      {"/id", 5},
      {"/id", std::string(257, 'i')},
      {"/usage", 5},
      {"/usage/prompt_tokens", -1},
      {"/usage/prompt_tokens", 1.5},
      {"/usage/completion_tokens", "3"},
      {"/usage/completion_tokens", uint64_t{1} << 60}};
  for (const auto& [pointer, value] : wrong) {
    Json json = With(pointer, value);
    if (std::string(pointer).find("token") != std::string::npos && value.is_string()) {
      json["choices"][0]["logprobs"]["content"][0].erase("bytes");
    }
    EXPECT_EQ(CodeOf(json), kUnknown) << pointer << " = " << value.dump().substr(0, 40);
  }
}

TEST(ReadChatResponseTest, MoreChoicesThanAskedFor) {
  Json json = GoodAnswer();
  json["choices"].push_back(json["choices"][0]);
  EXPECT_EQ(CodeOf(json), kUnknown);
}

TEST(ReadChatResponseTest, RefusesWhatIsNotJson) {
  const std::string good = GoodAnswer().dump();
  for (size_t length = 0; length < good.size(); ++length) {  // every truncation
    EXPECT_EQ(ReadChatResponse(good.substr(0, length), 2).status().code(), kUnknown) << length;
  }
  for (const std::string bad : {"null", "[]", "5", "<html>502</html>", "\xFF", "{\"choices\": [NaN]}"}) {
    EXPECT_EQ(ReadChatResponse(bad, 0).status().code(), kUnknown) << bad;
  }
  std::string not_utf8 = good;
  not_utf8.replace(not_utf8.find("Hi "), 2, "\xC3\x28");
  EXPECT_EQ(ReadChatResponse(not_utf8, 0).status().code(), kUnknown);
}

TEST(ReadChatResponseTest, RefusesDeepNesting) {
  const std::string deep(1 << 20, '[');
  EXPECT_EQ(ReadChatResponse("{\"a\":" + deep, 0).status().code(), kUnknown);
  Json json = GoodAnswer();
  json["extra"] = "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[";  // brackets in text are no nesting
  EXPECT_TRUE(ReadChatResponse(json.dump(), 0).ok());
}

TEST(ReadChatErrorTest, FollowsTheTable) {
  struct Row {
    int status;
    const char* body;
    absl::StatusCode code;
    RetryClass retry_class;
  };
  using enum absl::StatusCode;
  const Row rows[] = {
      {400, R"({"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}})",
       kInvalidArgument, RetryClass::kNever},
      {401, R"({"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}})",
       kUnauthenticated, RetryClass::kNever},
      {402, R"({"error":{"message":"Insufficient Balance"}})", kResourceExhausted, RetryClass::kNever},
      {403, "", kUnauthenticated, RetryClass::kNever},
      {404, "not found", kInvalidArgument, RetryClass::kNever},
      {408, "", kUnavailable, RetryClass::kTransient},
      {409, "", kUnavailable, RetryClass::kTransient},
      {413, "", kInvalidArgument, RetryClass::kNever},
      {418, "", kInvalidArgument, RetryClass::kNever},
      {422, R"({"detail":[]})", kInvalidArgument, RetryClass::kNever},
      {425, "", kUnavailable, RetryClass::kTransient},
      {429, R"({"error":{"type":"requests","code":"rate_limit_exceeded"}})", kResourceExhausted,
       RetryClass::kPace},
      {429, R"({"error":{"type":"insufficient_quota","code":"insufficient_quota"}})", kResourceExhausted,
       RetryClass::kNever},
      {429, R"({"error":{"type":"x","code":"credit_balance_exhausted"}})", kResourceExhausted,
       RetryClass::kNever},
      {429, R"({"error":{"type":"billing_error"}})", kResourceExhausted, RetryClass::kNever},
      {429, R"({"error":"slow down"})", kResourceExhausted, RetryClass::kPace},
      {500, "", kUnavailable, RetryClass::kTransient},
      {501, "", kUnavailable, RetryClass::kNever},
      {502, "<html>", kUnavailable, RetryClass::kTransient},
      {503, R"({"error":{"type":"overloaded"}})", kUnavailable, RetryClass::kOverload},
      {504, "", kUnavailable, RetryClass::kTransient},
      {529, "", kUnavailable, RetryClass::kOverload},
      {301, "", kFailedPrecondition, RetryClass::kNever},
      {307, "", kFailedPrecondition, RetryClass::kNever},
      {200, R"({"error":{"type":"rate_limit_exceeded"}})", kResourceExhausted, RetryClass::kPace},
      {200, R"({"error":{"code":500}})", kUnavailable, RetryClass::kTransient},
      {200, R"({"error":{"code":"401"}})", kUnauthenticated, RetryClass::kNever},
      {200, R"({"error":{"type":"BadRequestError","code":400}})", kInvalidArgument, RetryClass::kNever},
      {200, R"({"error":{"code":"insufficient_quota"}})", kResourceExhausted, RetryClass::kNever},
      {200, R"({"error":{"type":"overloaded_error"}})", kUnavailable, RetryClass::kOverload},
      {200, R"({"error":"something"})", absl::StatusCode::kUnknown, RetryClass::kNever},
      {200, R"({"error":{"code":99999999999999999999}})", absl::StatusCode::kUnknown, RetryClass::kNever},
  };
  for (const Row& row : rows) {
    const ChatError error = ReadChatError(row.status, row.body);
    EXPECT_EQ(error.status.code(), row.code) << row.status << " " << row.body;
    EXPECT_EQ(error.retry_class, row.retry_class) << row.status << " " << row.body;
    if (row.status == 200) {
      EXPECT_EQ(ReadChatResponse(row.body, 0).status().code(), row.code) << row.body;
    }
  }
}

TEST(ReadChatErrorTest, MessageHoldsNamesOnly) {
  const ChatError error = ReadChatError(
      401,
      R"({"error":{"message":"Incorrect API key sk-secret for prompt TOPSECRET","type":"bad type with words","code":"invalid_api_key"}})");
  EXPECT_EQ(error.status.message(), "the teacher answered 401, code invalid_api_key: the key is refused");
}

}  // namespace
}  // namespace retort::teacher
