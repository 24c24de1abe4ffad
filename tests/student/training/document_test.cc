#include "student/training/document.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "tests/student/training/approved_samples.h"
#include "tests/student/training/byte_tokenizer.h"

namespace retort::student {
namespace {

DocumentOptions Options() {
  return {TestTokenizerDigest(), kTestVocabulary, /*want_logits=*/true, nullptr};
}

absl::StatusOr<Document> Make(ledger::ApprovedContent content, const DocumentOptions& options = Options()) {
  return MakeDocument(ledger::ApprovedSampleTestAccess::Make(41, std::move(content)), options);
}

TEST(DocumentTest, JoinsPromptAndCompletion) {
  const auto content = TestContent(1, 3, 2);
  const auto document = Make(content);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_EQ(document->tokens.size(), 5u);
  EXPECT_EQ(document->completion_begin, 3u);
  EXPECT_EQ(document->tokens[2], content.prompt_ids[2]);
  EXPECT_EQ(document->tokens[3], content.completion_ids[0]);
  EXPECT_EQ(document->k, 2u);
  EXPECT_EQ(document->top_ids.size(), 4u);
  EXPECT_EQ(document->leaf_index, 41u);
}

TEST(DocumentTest, NamesBothTokenizers) {
  auto options = Options();
  options.tokenizer_sha256.fill(0xcd);
  const auto document = Make(TestContent(1, 3, 2), options);
  EXPECT_EQ(document.status().code(), absl::StatusCode::kFailedPrecondition);
  const std::string message(document.status().message());
  EXPECT_NE(message.find("leaf 41"), std::string::npos);
  EXPECT_NE(message.find("abababab"), std::string::npos);
  EXPECT_NE(message.find("cdcdcdcd"), std::string::npos);
}

TEST(DocumentTest, WantsLogProbabilitiesForALogitsRun) {
  auto content = TestContent(1, 3, 2);
  content.k = 0;
  content.top_ids.clear();
  content.top_logprobs.clear();
  content.tail_logprobs.clear();
  EXPECT_EQ(Make(content).status().code(), absl::StatusCode::kFailedPrecondition);
  auto options = Options();
  options.want_logits = false;
  EXPECT_TRUE(Make(content, options).ok());
}

TEST(DocumentTest, RefusesTextWithoutATokenizer) {
  ledger::ApprovedContent content;
  content.messages = {{"user", "hi"}};
  content.completion = "there";
  auto options = Options();
  options.want_logits = false;
  EXPECT_EQ(Make(content, options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(DocumentTest, TokenisesTextAndEndsTheTurn) {
  const auto tokenizer = ByteTokenizer();
  ledger::ApprovedContent content;
  content.messages = {{"system", "s"}, {"user", "hi"}};
  content.completion = "yo";
  DocumentOptions options;
  options.vocabulary_size = 259;
  options.tokenizer = tokenizer.get();
  const auto document = Make(content, options);
  ASSERT_TRUE(document.ok()) << document.status();
  const std::vector<int32_t> ids(document->tokens.begin(), document->tokens.end());
  EXPECT_EQ(tokenizer->Decode(ids),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
            "<|im_start|>assistant\nyo<|im_end|>");
  EXPECT_EQ(ids.size() - document->completion_begin, 3u);  // y, o, end of turn
  EXPECT_EQ(ids.back(), 2);
}

struct Spoiled {
  const char* field;
  std::function<void(ledger::ApprovedContent&)> spoil;
};
class DocumentHostileTest : public testing::TestWithParam<Spoiled> {};

TEST_P(DocumentHostileTest, NamesTheField) {
  auto content = TestContent(1, 3, 2);
  GetParam().spoil(content);
  const auto document = Make(content);
  EXPECT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(document.status().message()).find(GetParam().field), std::string::npos)
      << document.status();
}

INSTANTIATE_TEST_SUITE_P(
    All, DocumentHostileTest,
    testing::Values(Spoiled{"prompt_ids", [](auto& c) { c.prompt_ids[0] = 512; }},
                    Spoiled{"completion_ids", [](auto& c) { c.completion_ids[1] = 1u << 31; }},
                    Spoiled{"prompt_ids", [](auto& c) { c.prompt_ids.clear(); }},
                    Spoiled{"completion_ids", [](auto& c) { c.completion_ids.clear(); }},
                    Spoiled{"vocabulary_size", [](auto& c) { c.vocabulary_size = 513; }},
                    Spoiled{"top_ids", [](auto& c) { c.top_ids.pop_back(); }},
                    Spoiled{"top_ids", [](auto& c) { c.top_ids[3] = 512; }},
                    Spoiled{"top_ids", [](auto& c) { c.top_ids[3] = c.top_ids[2]; }},
                    Spoiled{"tail_logprobs", [](auto& c) { c.tail_logprobs.push_back(0); }},
                    Spoiled{"tail_logprobs", [](auto& c) { c.tail_logprobs[0] = 0.5f; }},
                    Spoiled{"k", [](auto& c) { c.k = 513; }},
                    Spoiled{"top_logprobs", [](auto& c) { c.top_logprobs[0] = 0.1f; }},
                    Spoiled{"top_logprobs", [](auto& c) { c.top_logprobs[1] = c.top_logprobs[0] + 0.01f; }},
                    Spoiled{"top_logprobs", [](auto& c) { c.top_logprobs[1] = c.top_logprobs[0]; }},
                    Spoiled{"top_logprobs",
                            [](auto& c) { c.top_logprobs[2] = std::numeric_limits<float>::quiet_NaN(); }}));

}  // namespace
}  // namespace retort::student
