// Generates with a Llama-architecture model: many sequences per step on the CPU, with continuous batching.
//
// One scheduler thread steps up to max_sequences sequences together: each step takes one token of every
// sequence that is decoding and fills the rest of the step with prompt tokens of those that are not there
// yet. A new sequence joins at the next step.
//
// A sequence's result does not depend on what shares its steps, on the number of threads, or on where its
// prompt was cut: every matrix product of a row is a sum of exact integer block products in a fixed order,
// and everything else of a row touches that row and its own cache only. Equal seeds, options and prompts give
// equal bits on any x86-64.
//
//   auto model = LlamaModel::Load(path);
//   auto engine = LlamaEngine::Create(*model, {});
//   auto result = (*engine)->Generate(prompt_ids, options, deadline);
#ifndef STUDENT_INFERENCE_LLAMA_H_
#define STUDENT_INFERENCE_LLAMA_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "student/inference/generation.h"
#include "student/inference/llama_model.h"

namespace retort::student {

struct LlamaEngineOptions {
  int32_t max_sequences = 16;  // stepped together, 1 to 64
  int32_t max_queued = 256;    // waiting for a place, 0 to 65536
  int32_t step_rows = 64;      // tokens per step at most, max_sequences to 512
  int32_t context = 0;         // tokens per sequence; 0 takes min(model context, 2048)
  int32_t threads = 0;         // 0 takes every CPU this process may use
};

class LlamaEngine {
 public:
  using Clock = std::chrono::steady_clock;
  // Called exactly once per accepted Submit, on the scheduler's thread: it must be quick and must not call
  // the engine's destructor. It may call Submit and Cancel.
  using Done = std::function<void(absl::StatusOr<Generation>)>;
  // Called on the scheduler's thread with the bytes that a token added (they may split a character).
  using Progress = std::function<void(std::span<const int32_t> ids)>;

  // Starts the threads. InvalidArgument: an option outside its range.
  static absl::StatusOr<std::unique_ptr<LlamaEngine>> Create(std::shared_ptr<const LlamaModel> model,
                                                             const LlamaEngineOptions& options);
  // Cancels what is running or queued (their Done get Cancelled), then joins the threads.
  ~LlamaEngine();
  LlamaEngine(const LlamaEngine&) = delete;
  LlamaEngine& operator=(const LlamaEngine&) = delete;

  // Queues a generation and returns its number. `done` gets the Generation, or Cancelled, or DeadlineExceeded
  // when `deadline` passes first. InvalidArgument (and `done` is never called): options out of range, an
  // empty prompt, an id outside the vocabulary, or a prompt that leaves no room in the context.
  // ResourceExhausted: the queue is full; retry later. Thread-safe.
  absl::StatusOr<uint64_t> Submit(std::vector<int32_t> prompt, const SamplingOptions& options,
                                  Clock::time_point deadline, Done done, Progress progress = nullptr);

  // Ends a generation at the next step; its Done gets Cancelled. Unknown or finished numbers are ignored.
  // Thread-safe.
  void Cancel(uint64_t number);

  // Submit and wait. Errors of both.
  absl::StatusOr<Generation> Generate(std::vector<int32_t> prompt, const SamplingOptions& options,
                                      Clock::time_point deadline = Clock::time_point::max());

  const LlamaModel& model() const { return *model_; }
  // Tokens of prompt and completion together that a sequence may have.
  int32_t context() const;

  struct Counters {
    uint64_t steps = 0;
    uint64_t prompt_tokens = 0;
    uint64_t generated_tokens = 0;
    int32_t running = 0;
    int32_t queued = 0;
  };
  // A snapshot. Thread-safe.
  Counters counters() const;

 private:
  class Scheduler;
  LlamaEngine(std::shared_ptr<const LlamaModel> model, std::unique_ptr<Scheduler> scheduler);

  std::shared_ptr<const LlamaModel> model_;  // shared: several engines may run one copy of the weights
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_LLAMA_H_
