#include "services/cli/local_comparison.h"

#include <gtest/gtest.h>

namespace retort::services {
namespace {

TEST(DocumentOfTest, PutsTheAnswerBehindThePrompt) {
  student::Generation answer;
  answer.ids = {7, 2};
  answer.k = 2;
  answer.top_ids = {7, 9, 2, 7};
  answer.top_logprobs = {-0.1f, -2.5f, -0.2f, -2.0f};
  answer.tail_logprobs = {-4.0f, -5.0f};
  const student::Document document = DocumentOf({1, 5, 6}, answer);
  EXPECT_EQ(document.tokens, (std::vector<uint32_t>{1, 5, 6, 7, 2}));
  EXPECT_EQ(document.completion_begin, 3u);
  EXPECT_EQ(document.k, 2u);
  EXPECT_EQ(document.top_ids, (std::vector<uint32_t>{7, 9, 2, 7}));
  EXPECT_EQ(document.tail_logprobs, (std::vector<float>{-4.0f, -5.0f}));
}

TEST(CompareWithTeacherTest, NeedsAPrompt) {
  EXPECT_EQ(CompareWithTeacher({}, {}, [](size_t, size_t) {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services
