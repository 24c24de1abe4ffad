// How fast the embedded teacher is on this machine, beside what the machine could do at most. One JSON line.
//
//   build/release/bin/teacher_bench [sequences] [tokens per sequence]
//
// Floors, measured in the same process on the same threads: reading as many bytes as one step reads of packed
// weights (memory_floor), and as many 16-bit multiply-adds in registers as one token needs
// (arithmetic_floor). Ratios say how many times longer a decoding step takes than each floor alone.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <numeric>
#include <string>
#include <vector>

#include "student/inference/llama.h"
#include "student/inference/step_crew.h"
#include "tests/bench/dot_peak.h"

namespace retort::student {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Run {
  double seconds = 0;
  int64_t generated = 0;
  int64_t prompt = 0;
};

// `sequences` generations at once from short prompts, so that nearly all steps decode. Plain text at
// temperature 1 seldom reaches an end token.
Run Generate(LlamaEngine& engine, int sequences, int tokens) {
  const Tokenizer& tokenizer = engine.model().tokenizer();
  std::vector<std::future<Generation>> results;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < sequences; ++i) {
    const std::vector<int32_t> prompt =
        tokenizer.Encode("Once upon a time, lighthouse keeper number " + std::to_string(i));
    SamplingOptions options;
    options.temperature = 1;
    options.seed = i;
    options.max_tokens = tokens;
    options.top_logprobs = 32;
    auto promise = std::make_shared<std::promise<Generation>>();
    results.push_back(promise->get_future());
    auto number =
        engine.Submit(prompt, options, LlamaEngine::Clock::time_point::max(),
                      [promise](absl::StatusOr<Generation> g) { promise->set_value(std::move(g).value()); });
    if (!number.ok()) std::abort();
  }
  Run run;
  for (auto& result : results) {
    const Generation generation = result.get();
    run.generated += static_cast<int64_t>(generation.ids.size());
    run.prompt += generation.prompt_tokens;
  }
  run.seconds = SecondsSince(start);
  return run;
}

double PrefillTokensPerSecond(LlamaEngine& engine) {
  std::vector<int32_t> prompt(513);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(100 + i * 37 % 40'000);
  SamplingOptions options;
  options.max_tokens = 1;
  double best = 0;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    if (!engine.Generate(prompt, options).ok()) std::abort();
    best = std::max(best, static_cast<double>(prompt.size()) / SecondsSince(start));
  }
  return best;
}

// Bytes per second that the threads read together from memory larger than the caches.
double ReadBandwidth(StepCrew& crew, uint64_t bytes) {
  const size_t count = bytes / sizeof(uint64_t);
  std::vector<uint64_t> data(count, 1);
  std::atomic<uint64_t> sink{0};
  double best = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    const int32_t tasks = 64;
    crew.Run(tasks, [&](int32_t task, int32_t) {
      const size_t begin = count * task / tasks, end = count * (task + 1) / tasks;
      uint64_t sums[8] = {};
      for (size_t i = begin; i + 8 <= end; i += 8) {
        for (int j = 0; j < 8; ++j) sums[j] += data[i + j];
      }
      sink += std::accumulate(sums, sums + 8, uint64_t{0});
    });
    best = std::min(best, SecondsSince(start));
  }
  return sink == 0 ? 0 : static_cast<double>(count * sizeof(uint64_t)) / best;
}

// Multiply-adds per second that the threads do together out of registers.
double PeakMultiplyAdds(StepCrew& crew) {
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::atomic<uint64_t> done{0};
    const auto start = std::chrono::steady_clock::now();
    crew.Run(4 * crew.threads(), [&](int32_t, int32_t) { done += DotPeakRound(); });
    best = std::max(best, static_cast<double>(done) / SecondsSince(start));
  }
  return best;
}

int Main(int argc, char** argv) {
  const int sequences = argc > 1 ? std::atoi(argv[1]) : 16;
  const int tokens = argc > 2 ? std::atoi(argv[2]) : 128;
  auto path = FindTeacherGguf();
  if (!path.ok()) return std::fprintf(stderr, "%s\n", std::string(path.status().message()).c_str()), 1;
  const auto start = std::chrono::steady_clock::now();
  auto model = LlamaModel::Load(*path);
  if (!model.ok()) return std::fprintf(stderr, "%s\n", std::string(model.status().message()).c_str()), 1;
  const double load_seconds = SecondsSince(start);
  auto engine = LlamaEngine::Create(*model, {.max_sequences = std::clamp(sequences, 1, 64)});
  if (!engine.ok()) return std::fprintf(stderr, "%s\n", std::string(engine.status().message()).c_str()), 1;
  Generate(**engine, 1, 8);  // touches every page
  const Run many = Generate(**engine, sequences, tokens);
  const uint64_t steps_before = (*engine)->counters().steps;
  const Run one = Generate(**engine, 1, tokens);
  const uint64_t one_steps = (*engine)->counters().steps - steps_before;
  const double prefill = PrefillTokensPerSecond(**engine);
  engine->reset();

  StepCrew crew(StepCrew::DefaultThreads());
  const double bandwidth = ReadBandwidth(crew, (*model)->step_bytes());
  const double peak = PeakMultiplyAdds(crew);
  const double memory_floor = static_cast<double>((*model)->step_bytes()) / bandwidth;
  const double arithmetic_floor = static_cast<double>((*model)->token_multiply_adds()) * sequences / peak;
  const double step = many.seconds * sequences / static_cast<double>(many.generated);
  std::printf(
      "{\"bench\":\"teacher\",\"isa\":\"%s\",\"threads\":%d,\"sequences\":%d,\"tokens_per_second\":%.1f,"
      "\"one_sequence_tokens_per_second\":%.1f,\"prefill_tokens_per_second\":%.1f,\"load_seconds\":%.2f,"
      "\"generated\":%lld,\"prompt\":%lld,\"one_sequence_steps\":%llu,\"step_ms\":%.2f,\"step_bytes\":%llu,"
      "\"read_gb_per_second\":%.1f,\"memory_floor_ms\":%.2f,\"step_over_memory_floor\":%.2f,"
      "\"peak_gmac_per_second\":%.0f,\"arithmetic_floor_ms\":%.2f,\"step_over_arithmetic_floor\":%.2f}\n",
      std::string(BestCpuKernels().name).c_str(), crew.threads(), sequences,
      static_cast<double>(many.generated) / many.seconds, static_cast<double>(one.generated) / one.seconds,
      prefill, load_seconds, static_cast<long long>(many.generated), static_cast<long long>(many.prompt),
      static_cast<unsigned long long>(one_steps), step * 1e3,
      static_cast<unsigned long long>((*model)->step_bytes()), bandwidth / 1e9, memory_floor * 1e3,
      step / memory_floor, peak / 1e9, arithmetic_floor * 1e3, step / arithmetic_floor);
  return 0;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc, argv);
}
