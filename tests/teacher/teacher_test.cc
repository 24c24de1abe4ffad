#include "teacher/teacher.h"

#include <gtest/gtest.h>

#include <cmath>

namespace retort::teacher {
namespace {

CompletionRequest GoodRequest() {
  CompletionRequest request;
  request.messages = {{"system", "Be brief."}, {"user", "Hello"}};
  request.sampling.max_tokens = 16;
  return request;
}

absl::StatusCode CodeAfter(void (*change)(CompletionRequest&)) {
  CompletionRequest request = GoodRequest();
  change(request);
  return ValidateRequest(request).code();
}

constexpr auto kOk = absl::StatusCode::kOk;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ValidateRequestTest, AcceptsTheLimitsThemselves) {
  EXPECT_EQ(CodeAfter([](CompletionRequest&) {}), kOk);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.messages.assign(64, {"user", "x"}); }), kOk);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) {
              r.messages = {{"user", std::string(256 << 10, 'x')}};
            }),
            kOk);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) {
              r.sampling = {2, 1, (uint64_t{1} << 53) - 1, 8192, 64, {"a", "b", "c", std::string(64, 'd')}};
            }),
            kOk);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) {
              r.messages[0].content = "\xF0\x9F\x98\x80 \xED\x9F\xBF \xF4\x8F\xBF\xBF";
            }),
            kOk);
}

TEST(ValidateRequestTest, RefusesWhatIsBeyond) {
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.messages.clear(); }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.messages.assign(65, {"user", "x"}); }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) {
              r.messages = {{"user", std::string((256 << 10) + 1, 'x')}};
            }),
            kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.messages[0].role = "tool"; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.temperature = -0.1; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.temperature = std::nan(""); }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.temperature = 2.01; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.top_p = 0; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.top_p = 1.01; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.seed = uint64_t{1} << 53; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.max_tokens = 0; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.max_tokens = 8193; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.top_logprobs = -1; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.top_logprobs = 65; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.stop.assign(5, "x"); }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.stop = {""}; }), kInvalid);
  EXPECT_EQ(CodeAfter([](CompletionRequest& r) { r.sampling.stop = {std::string(65, 'x')}; }), kInvalid);
}

TEST(ValidateRequestTest, RefusesBytesThatAreNotUtf8) {
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC2", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF5\x80\x80\x80", "a\xE2\x82"}) {
    CompletionRequest request = GoodRequest();
    request.messages[1].content = bad;
    EXPECT_EQ(ValidateRequest(request).code(), kInvalid) << bad;
  }
}

TEST(ValidateRequestTest, MessageNamesTheFieldAndNotTheText) {
  CompletionRequest request = GoodRequest();
  request.messages[1].content = "secret words \xFF";
  const std::string message(ValidateRequest(request).message());
  EXPECT_EQ(message, "messages[1].content: saw bytes that are not UTF-8, wanted UTF-8 text");
}

TEST(FinishReasonTest, NamesAreThoseOfStatements) {
  EXPECT_STREQ(FinishReasonName(FinishReason::kStop), "stop");
  EXPECT_STREQ(FinishReasonName(FinishReason::kLength), "length");
  EXPECT_STREQ(FinishReasonName(FinishReason::kContentFilter), "content_filter");
}

}  // namespace
}  // namespace retort::teacher
