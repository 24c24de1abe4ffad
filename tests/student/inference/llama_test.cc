#include "student/inference/llama.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <future>
#include <limits>
#include <mutex>

#include "tests/student/inference/tiny_llama.h"

namespace retort::student {
namespace {

constexpr auto kNever = LlamaEngine::Clock::time_point::max();

std::shared_ptr<const LlamaModel> Model(const std::vector<uint8_t>& bytes) {
  auto file = GgufFile::Parse(bytes);
  EXPECT_TRUE(file.ok()) << file.status();
  auto model = LlamaModel::FromGguf(*std::move(file));
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

const std::shared_ptr<const LlamaModel>& Tiny() {
  static const std::vector<uint8_t> bytes = TinyLlama();
  static const std::shared_ptr<const LlamaModel> model = Model(bytes);
  return model;
}

std::unique_ptr<LlamaEngine> Engine(const LlamaEngineOptions& options = {}) {
  auto engine = LlamaEngine::Create(Tiny(), options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return *std::move(engine);
}

std::vector<int32_t> Prompt(int seed, int length) {
  std::vector<int32_t> ids;
  for (int i = 0; i < length; ++i) ids.push_back(2 + (seed * 31 + i * 7) % 256);
  return ids;
}

SamplingOptions Sampled(uint64_t seed, int32_t max_tokens) {
  SamplingOptions options;
  options.temperature = 1;
  options.top_p = 0.9;
  options.seed = seed;
  options.max_tokens = max_tokens;
  options.top_logprobs = 4;
  return options;
}

// Equal to the last bit.
void ExpectSame(const Generation& a, const Generation& b) {
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.top_ids, b.top_ids);
  EXPECT_EQ(a.logprobs, b.logprobs);
  EXPECT_EQ(a.top_logprobs, b.top_logprobs);
  EXPECT_EQ(a.tail_logprobs, b.tail_logprobs);
  EXPECT_EQ(a.text, b.text);
}

absl::Status StatusOfModel(const TinyLlamaOptions& options) {
  const std::vector<uint8_t> bytes = TinyLlama(options);
  auto file = GgufFile::Parse(bytes);
  if (!file.ok()) return file.status();
  return LlamaModel::FromGguf(*std::move(file)).status();
}

TEST(LlamaEngineTest, ResultDoesNotDependOnWhatSharesTheStep) {
  auto alone = Engine({.max_sequences = 1, .step_rows = 1, .threads = 1});
  auto together = Engine({.max_sequences = 16, .step_rows = 24, .threads = 2});
  std::vector<std::future<Generation>> results;
  for (int i = 0; i < 24;
       ++i) {  // more than fit: some join while others decode, and prompts are cut in many ways
    auto promise = std::make_shared<std::promise<Generation>>();
    results.push_back(promise->get_future());
    auto number = together->Submit(
        Prompt(i, 3 + i * 5 % 40), Sampled(i, 10 + i % 7), kNever,
        [promise](absl::StatusOr<Generation> g) { promise->set_value(std::move(g).value()); });
    ASSERT_TRUE(number.ok()) << number.status();
  }
  for (int i = 0; i < 24; ++i) {
    auto expected = alone->Generate(Prompt(i, 3 + i * 5 % 40), Sampled(i, 10 + i % 7));
    ASSERT_TRUE(expected.ok()) << expected.status();
    ExpectSame(*expected, results[i].get());
  }
}

TEST(LlamaEngineTest, SeedsDiffer) {
  auto engine = Engine({.threads = 1});
  auto a = engine->Generate(Prompt(1, 8), Sampled(1, 24));
  auto b = engine->Generate(Prompt(1, 8), Sampled(2, 24));
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(a->ids, b->ids);
}

TEST(LlamaEngineTest, EndsAtMaxTokensAndAtTheContext) {
  auto engine = Engine({.context = 32, .threads = 1});
  SamplingOptions options;
  options.max_tokens = 5;
  auto few = engine->Generate(Prompt(3, 4), options);
  ASSERT_TRUE(few.ok());
  EXPECT_EQ(few->finish_reason == FinishReason::kLength ? few->ids.size() : 5u, 5u);
  options = Sampled(9, 100);
  auto many = engine->Generate(Prompt(3, 20), options);
  ASSERT_TRUE(many.ok());
  EXPECT_LE(many->ids.size(), 12u);
  if (many->finish_reason == FinishReason::kLength) {
    EXPECT_EQ(many->ids.size(), 12u);
  }
}

TEST(LlamaEngineTest, StopStringEndsTheTextBeforeIt) {
  auto engine = Engine({.threads = 1});
  auto whole = engine->Generate(Prompt(5, 6), Sampled(3, 30));
  ASSERT_TRUE(whole.ok());
  const std::string bytes = Tiny()->tokenizer().DecodeBytes(whole->ids, true);
  ASSERT_GT(bytes.size(), 8u);
  SamplingOptions options = Sampled(3, 30);
  options.stop = {bytes.substr(4, 2)};
  auto cut = engine->Generate(Prompt(5, 6), options);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->finish_reason, FinishReason::kStop);
  EXPECT_LE(cut->ids.size(), 6u);
  EXPECT_EQ(Tiny()->tokenizer().DecodeBytes(cut->ids, true).find(options.stop[0]) + 2,
            Tiny()->tokenizer().DecodeBytes(cut->ids, true).size());
}

TEST(LlamaEngineTest, ProgressSeesEveryToken) {
  auto engine = Engine({.threads = 1});
  std::vector<int32_t> seen;
  std::promise<Generation> promise;
  auto number = engine->Submit(
      Prompt(2, 5), Sampled(4, 12), kNever,
      [&promise](absl::StatusOr<Generation> g) { promise.set_value(std::move(g).value()); },
      [&seen](std::span<const int32_t> ids) { seen.insert(seen.end(), ids.begin(), ids.end()); });
  ASSERT_TRUE(number.ok());
  EXPECT_EQ(promise.get_future().get().ids, seen);
}

TEST(LlamaEngineTest, CancelEndsRunningAndQueued) {
  auto engine = Engine({.max_sequences = 1, .context = 256, .threads = 1});
  std::vector<uint64_t> numbers;
  std::vector<std::future<absl::Status>> ends;
  for (int i = 0; i < 3; ++i) {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    ends.push_back(promise->get_future());
    auto number = engine->Submit(Prompt(i, 4), Sampled(i, 240), kNever,
                                 [promise](absl::StatusOr<Generation> g) { promise->set_value(g.status()); });
    ASSERT_TRUE(number.ok());
    numbers.push_back(*number);
  }
  engine->Cancel(numbers[2]);
  engine->Cancel(numbers[1]);
  engine->Cancel(12345);  // unknown: ignored
  EXPECT_EQ(ends[2].get().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(ends[1].get().code(), absl::StatusCode::kCancelled);
  engine.reset();  // the first is running or done
  const absl::StatusCode first = ends[0].get().code();
  EXPECT_TRUE(first == absl::StatusCode::kCancelled || first == absl::StatusCode::kOk);
}

TEST(LlamaEngineTest, DeadlineEndsAGeneration) {
  auto engine = Engine({.threads = 1});
  auto late =
      engine->Generate(Prompt(1, 4), Sampled(1, 200), LlamaEngine::Clock::now() - std::chrono::seconds(1));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(LlamaEngineTest, FullQueueRefuses) {
  auto engine = Engine({.max_sequences = 1, .max_queued = 1, .threads = 1});
  // Nobody's callback returns before the gate opens. At most one sequence waits in its callback, one has the
  // place that it left, and one is queued; so the fourth is refused, whenever the engine gets to run.
  std::promise<void> gate;
  std::shared_future<void> open = gate.get_future().share();
  const auto done = [open](absl::StatusOr<Generation>) { open.wait(); };
  const auto submit = [&] {
    return engine->Submit(Prompt(1, 4), Sampled(1, 100), kNever, done).status().code();
  };
  EXPECT_EQ(submit(), absl::StatusCode::kOk);
  EXPECT_EQ(submit(), absl::StatusCode::kOk);
  submit();
  EXPECT_EQ(submit(), absl::StatusCode::kResourceExhausted);
  gate.set_value();
}

TEST(LlamaEngineTest, RefusesBadRequests) {
  auto engine = Engine({.context = 32, .threads = 1});
  const auto code = [&](std::vector<int32_t> prompt, const SamplingOptions& options) {
    return engine->Generate(std::move(prompt), options).status().code();
  };
  SamplingOptions options;
  EXPECT_EQ(code({}, options), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({-1}, options), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({258}, options), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Prompt(1, 32), options), absl::StatusCode::kInvalidArgument);
  for (const auto& spoil : std::vector<void (*)(SamplingOptions&)>{
           [](SamplingOptions& o) { o.temperature = -1; }, [](SamplingOptions& o) { o.temperature = 2.1; },
           [](SamplingOptions& o) { o.temperature = std::numeric_limits<double>::quiet_NaN(); },
           [](SamplingOptions& o) { o.top_p = 0; }, [](SamplingOptions& o) { o.top_p = 1.1; },
           [](SamplingOptions& o) { o.max_tokens = 0; }, [](SamplingOptions& o) { o.max_tokens = 8193; },
           [](SamplingOptions& o) { o.top_logprobs = 65; }, [](SamplingOptions& o) { o.top_logprobs = -1; },
           [](SamplingOptions& o) { o.stop = {""}; }, [](SamplingOptions& o) { o.stop.assign(5, "x"); },
           [](SamplingOptions& o) { o.stop = {std::string(65, 'x')}; }}) {
    options = {};
    spoil(options);
    EXPECT_EQ(code({5}, options), absl::StatusCode::kInvalidArgument);
  }
}

TEST(LlamaEngineTest, RefusesOptionsOutOfRange) {
  for (const LlamaEngineOptions& options :
       {LlamaEngineOptions{.max_sequences = 0}, LlamaEngineOptions{.max_sequences = 65},
        LlamaEngineOptions{.max_queued = -1}, LlamaEngineOptions{.step_rows = 8},
        LlamaEngineOptions{.context = 1}, LlamaEngineOptions{.context = 100'000},
        LlamaEngineOptions{.threads = -1}}) {
    EXPECT_EQ(LlamaEngine::Create(Tiny(), options).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(LlamaModelTest, RefusesWeightsThatAreNotFinite) {
  EXPECT_EQ(StatusOfModel({.broken_weights = true}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(LlamaModelTest, RefusesWhatItDoesNotCompute) {
  EXPECT_EQ(StatusOfModel({.architecture = "mamba"}).code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(StatusOfModel({.heads = 3}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusOfModel({.kv_heads = 3}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusOfModel({.heads = 8, .kv_heads = 8}).code(), absl::StatusCode::kInvalidArgument);  // 8 wide
  EXPECT_EQ(StatusOfModel({.context = 0}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(StatusOfModel({}).ok());
}

}  // namespace
}  // namespace retort::student
