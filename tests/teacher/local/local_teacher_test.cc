#include "teacher/local/local_teacher.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

namespace retort::teacher {
namespace {

// One teacher for all tests: loading packs 100 MB.
LocalTeacher& Teacher() {
  static LocalTeacher& teacher = *[] {
    auto made = LocalTeacher::Create("", {.max_sequences = 4, .context = 256});
    EXPECT_TRUE(made.ok()) << made.status();
    return made->release();
  }();
  return teacher;
}

CompletionRequest Ask(const std::string& question) {
  CompletionRequest request;
  request.messages = {{"user", question}};
  request.sampling.max_tokens = 6;
  request.sampling.top_logprobs = 3;
  return request;
}

TEST(LocalTeacherTest, AnswersWithAWholeTrace) {
  auto answer = Teacher().Complete(Ask("Why is the sky blue?"), {});
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_TRUE(answer->trace.has_value());
  const TokenTrace& trace = *answer->trace;
  EXPECT_FALSE(answer->text.empty());
  EXPECT_EQ(answer->finish_reason, FinishReason::kLength);
  EXPECT_EQ(answer->completion_tokens, 6);
  EXPECT_EQ(answer->prompt_tokens, static_cast<int64_t>(trace.prompt_ids.size()));
  EXPECT_EQ(trace.vocabulary_size, 49152u);
  EXPECT_EQ(trace.tokenizer_sha256, Teacher().tokenizer().Digest());
  ASSERT_EQ(trace.completion_ids.size(), 6u);
  ASSERT_EQ(trace.top_ids.size(), 18u);
  ASSERT_EQ(trace.tail_logprobs.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(trace.top_ids[3 * i], trace.completion_ids[i]);  // greedy takes the first
    EXPECT_EQ(trace.top_logprobs[3 * i], trace.completion_logprobs[i]);
    double mass = std::exp(trace.tail_logprobs[i]);
    for (size_t j = 0; j < 3; ++j) mass += std::exp(trace.top_logprobs[3 * i + j]);
    EXPECT_NEAR(mass, 1, 1e-5);
  }
}

TEST(LocalTeacherTest, SaysWhatItIs) {
  EXPECT_EQ(Teacher().identity().endpoint, "local");
  EXPECT_EQ(Teacher().identity().weights_sha256.size(), 64u);
  EXPECT_EQ(Teacher().identity().top_logprobs_max, 64);
}

TEST(LocalTeacherTest, RepeatsBitForBit) {
  CompletionRequest request = Ask("Name a metal.");
  request.sampling.temperature = 1;
  request.sampling.seed = 7;
  auto first = Teacher().Complete(request, {});
  auto second = Teacher().Complete(request, {});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->trace->completion_ids, second->trace->completion_ids);
  EXPECT_EQ(first->trace->top_logprobs, second->trace->top_logprobs);
}

TEST(LocalTeacherTest, RefusesARequestOutOfRange) {
  CompletionRequest request = Ask("x");
  request.sampling.max_tokens = 0;
  EXPECT_EQ(Teacher().Complete(request, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LocalTeacherTest, RefusesAPromptLargerThanTheContext) {
  std::string words;
  for (int i = 0; i < 400; ++i) words += "word ";
  EXPECT_EQ(Teacher().Complete(Ask(words), {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LocalTeacherTest, EndsAtTheDeadline) {
  const CallLimits limits = {.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1)};
  EXPECT_EQ(Teacher().Complete(Ask("Why?"), limits).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(LocalTeacherTest, EndsWhenCancelled) {
  CompletionRequest request = Ask("Count to one thousand.");
  request.sampling.max_tokens = 200;
  const CallLimits limits = {.cancelled = [] { return true; }};
  EXPECT_EQ(Teacher().Complete(request, limits).status().code(), absl::StatusCode::kCancelled);
}

TEST(LocalTeacherTest, SaysThatTheFileIsMissing) {
  EXPECT_EQ(LocalTeacher::Create("/nonexistent/model.gguf").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::teacher
