#include "student/inference/deepseek.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "student/export/hugging_face.h"
#include "student/inference/sampler.h"
#include "tests/student/export/golden_students.h"
#include "tests/student/training/byte_tokenizer.h"

namespace retort::student {
namespace {

class StudentModelTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "deepseek_XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
    tokenizer_ = ByteTokenizer();
    ModelConfig config = UnitConfig();
    config.context = 256;
    ASSERT_TRUE(WriteStudent(folder_, GoldenWeights(config), *tokenizer_, "").ok());
    auto loaded = StudentModel::Load(folder_, {.threads = 1});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    student_ = *std::move(loaded);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<StudentModel> student_;
};

// Decoding token by token with the latent cache gives the logits of the full forward pass.
TEST_F(StudentModelTest, CacheGivesTheLogitsOfTheFullPass) {
  std::vector<int32_t> ids;
  for (const int32_t id : GoldenIds(student_->config(), 40)) ids.push_back(id % 259);
  std::vector<int32_t> rows(ids.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
  const auto full = student_->model().ForwardLogits(student_->weights(), ids, rows);
  const auto expect_row = [&](const std::vector<float>& logits, size_t row) {
    ASSERT_EQ(logits.size(), 259u);
    for (size_t v = 0; v < logits.size(); ++v) {
      ASSERT_NEAR(logits[v], full[row * 512 + v], 1e-4) << "row " << row << " token " << v;
    }
  };
  const auto prefill = student_->Decode(std::span(ids).first(17));
  ASSERT_TRUE(prefill.ok()) << prefill.status();
  expect_row(*prefill, 16);
  for (size_t i = 17; i < ids.size(); ++i) {
    const auto next = student_->Decode(std::span(ids).subspan(i, 1));
    ASSERT_TRUE(next.ok());
    expect_row(*next, i);
  }
  student_->Reset();
  expect_row(*student_->Decode(std::span(ids).first(3)), 2);
}

TEST_F(StudentModelTest, GeneratesWhatGreedyDecodingGives) {
  const auto reply = student_->Generate({{"user", "hi"}}, {.max_tokens = 12}, nullptr);
  ASSERT_TRUE(reply.ok()) << reply.status();
  auto ids = *tokenizer_->EncodeChat({{"user", "hi"}}, true);
  EXPECT_EQ(reply->prompt_tokens, static_cast<int32_t>(ids.size()));
  for (const int32_t id : reply->ids) {
    const auto logits = student_->model().ForwardLogits(
        student_->weights(), ids, std::vector<int32_t>{static_cast<int32_t>(ids.size()) - 1});
    EXPECT_EQ(id, ArgMax(std::span(logits).first(259)));
    ids.push_back(id);
  }
  EXPECT_EQ(reply->ids.size(), reply->logprobs.size());
}

TEST_F(StudentModelTest, SameAnswerAfterAnotherConversation) {
  const SamplingOptions options{.temperature = 0.8, .seed = 3, .max_tokens = 16};
  const auto first = student_->Generate({{"user", "one"}}, options, nullptr);
  ASSERT_TRUE(student_->Generate({{"user", "another, longer one"}}, options, nullptr).ok());
  const auto again = student_->Generate({{"user", "one"}}, options, nullptr);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(first->ids, again->ids);
  EXPECT_EQ(first->text, again->text);
}

TEST_F(StudentModelTest, TellsTextInWholeCharacters) {
  std::string told;
  const auto reply = student_->Generate({{"user", "x"}}, {.temperature = 1.5, .seed = 9, .max_tokens = 60},
                                        [&](std::string_view text) {
                                          told += text;
                                          return true;
                                        });
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(told, reply->text);
}

TEST_F(StudentModelTest, StopsWhereAsked) {
  const auto plain = student_->Generate({{"user", "y"}}, {.max_tokens = 20}, nullptr);
  ASSERT_TRUE(plain.ok());
  ASSERT_GT(plain->text.size(), 3u);
  const std::string stop = plain->text.substr(2, 2);
  SamplingOptions options{.max_tokens = 20};
  options.stop = {stop};
  std::string told;
  const auto cut = student_->Generate({{"user", "y"}}, options, [&](std::string_view text) {
    told += text;
    return true;
  });
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->text, plain->text.substr(0, plain->text.find(stop)));
  EXPECT_EQ(told, cut->text);
  EXPECT_EQ(cut->finish_reason, FinishReason::kStop);
  int pieces = 0;
  const auto cancelled =
      student_->Generate({{"user", "y"}}, {.max_tokens = 20}, [&](std::string_view) { return ++pieces < 2; });
  EXPECT_EQ(cancelled.status().code(), absl::StatusCode::kCancelled);
}

TEST_F(StudentModelTest, RefusesWhatItCannotAnswer) {
  EXPECT_EQ(student_->Generate({}, {}, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(student_->Generate({{"robot", "x"}}, {}, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(student_->Generate({{"user", "x"}}, {.max_tokens = 0}, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(student_->Generate({{"user", std::string(300, 'x')}}, {}, nullptr).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(student_->Decode({}).status().code(), absl::StatusCode::kInvalidArgument);
  const std::vector<int32_t> outside = {259};
  EXPECT_EQ(student_->Decode(outside).status().code(), absl::StatusCode::kInvalidArgument);
  const std::vector<int32_t> many(257, 5);
  EXPECT_EQ(student_->Decode(many).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(StudentModel::Load(folder_ + "/absent", {}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(StudentModel::Load(folder_, {.threads = -1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StudentModelTest, EndsWhenTheContextIsFull) {
  const auto reply = student_->Generate({{"user", std::string(120, 'x')}}, {.max_tokens = 500}, nullptr);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_LE(reply->prompt_tokens + static_cast<int32_t>(reply->ids.size()), 256);
}

}  // namespace
}  // namespace retort::student
