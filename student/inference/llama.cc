#include "student/inference/llama.h"

#include <algorithm>
#include <cassert>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "student/inference/llama_forward.h"
#include "student/inference/sampler.h"
#include "student/inference/step_crew.h"
#include "student/tokenizer/utf8.h"

namespace retort::student {
namespace {

using Clock = LlamaEngine::Clock;

constexpr int32_t kDefaultContext = 2048;

absl::Status Refuse(const std::string& option, int64_t seen, int64_t low, int64_t high) {
  return absl::InvalidArgumentError("engine option " + option + " is " + std::to_string(seen) + "; wanted " +
                                    std::to_string(low) + " to " + std::to_string(high));
}

struct Request {
  uint64_t number = 0;
  std::vector<int32_t> prompt;
  SamplingOptions options;
  Clock::time_point deadline;
  LlamaEngine::Done done;
  LlamaEngine::Progress progress;
};

// A request that has a place in the steps.
struct Sequence {
  Sequence(Request r, const LlamaConfig& config, int32_t context)
      : request(std::move(r)),
        cache(config,
              std::min(context, static_cast<int32_t>(request.prompt.size()) + request.options.max_tokens)) {
    generation.prompt_tokens = static_cast<int32_t>(request.prompt.size());
  }

  // Tokens of prompt and generation that are not in the cache yet.
  int32_t Waiting() const {
    return static_cast<int32_t>(request.prompt.size() + generation.ids.size()) - cached;
  }
  int32_t TokenAt(int32_t position) const {
    const int32_t prompt = static_cast<int32_t>(request.prompt.size());
    return position < prompt ? request.prompt[position] : generation.ids[position - prompt];
  }

  Request request;
  LlamaCache cache;
  int32_t cached = 0;
  Generation generation;
  std::string bytes;          // of the generated tokens, specials left out
  bool wants_sample = false;  // this step computes its next token
  size_t last_row = 0;        // of this step, when it does
  absl::Status failed;
  bool finished = false;
};

}  // namespace

// Owns the threads. Everything below `mutex_` is guarded by it; `running_` and `forward_` belong to the
// thread.
class LlamaEngine::Scheduler {
 public:
  Scheduler(const LlamaModel& model, const LlamaEngineOptions& options)
      : model_(model),
        options_(options),
        crew_(options.threads),
        forward_(model, options.step_rows, options.context, crew_, BestCpuKernels()),
        thread_([this] { Loop(); }) {}

  ~Scheduler() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  absl::StatusOr<uint64_t> Submit(Request request) {
    std::lock_guard lock(mutex_);
    if (static_cast<int64_t>(live_.size()) >= int64_t{options_.max_sequences} + options_.max_queued) {
      return absl::ResourceExhaustedError(
          "the engine has " + std::to_string(live_.size()) +
          " generations in progress or waiting; wanted fewer, try again later");
    }
    request.number = ++last_number_;
    live_.insert(request.number);
    queue_.push_back(std::move(request));
    changed_.notify_all();
    return last_number_;
  }

  void Cancel(uint64_t number) {
    std::lock_guard lock(mutex_);
    if (live_.contains(number)) cancelled_.insert(number);
    changed_.notify_all();
  }

  Counters counters() const {
    std::lock_guard lock(mutex_);
    Counters counters = counters_;
    counters.queued = static_cast<int32_t>(queue_.size());
    return counters;
  }

  int32_t context() const { return options_.context; }

 private:
  void Loop() {
    while (Admit()) {
      if (running_.empty()) continue;
      Step();
      Finish();
    }
    End();
  }

  // Waits for work, drops what was cancelled or is late, and gives free places to the queue. False: time to
  // stop.
  bool Admit() {
    std::vector<std::pair<Request, absl::Status>> dropped;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stop_ || !queue_.empty() || !running_.empty(); });
      if (stop_) return false;
      const Clock::time_point now = Clock::now();
      for (auto it = queue_.begin(); it != queue_.end();) {
        absl::Status status = WhyDropped(*it, now);
        if (status.ok()) {
          ++it;
          continue;
        }
        Forget(it->number);
        dropped.emplace_back(std::move(*it), std::move(status));
        it = queue_.erase(it);
      }
      while (static_cast<int32_t>(running_.size()) < options_.max_sequences && !queue_.empty()) {
        running_.push_back(
            std::make_unique<Sequence>(std::move(queue_.front()), model_.config(), options_.context));
        queue_.pop_front();
      }
      for (const auto& sequence : running_) {
        absl::Status status = WhyDropped(sequence->request, now);
        if (!status.ok()) sequence->failed = std::move(status);
      }
      counters_.running = static_cast<int32_t>(running_.size());
    }
    for (auto& [request, status] : dropped) request.done(std::move(status));
    return true;
  }

  // Under the lock. OK when the request goes on.
  absl::Status WhyDropped(const Request& request, Clock::time_point now) const {
    if (cancelled_.contains(request.number)) return absl::CancelledError("the generation was cancelled");
    if (now > request.deadline)
      return absl::DeadlineExceededError("the generation did not end before its deadline");
    return absl::OkStatus();
  }

  // Under the lock.
  void Forget(uint64_t number) {
    live_.erase(number);
    cancelled_.erase(number);
  }

  // One token of every sequence that decodes; what room is left goes to prompts, in the order of arrival.
  void Step() {
    rows_.clear();
    int32_t room = options_.step_rows;
    int32_t prompt_tokens = 0;
    for (const auto& sequence : running_) {
      if (sequence->failed.ok() && sequence->Waiting() == 1) {
        AddRows(*sequence, 1);
        --room;
      }
    }
    for (const auto& sequence : running_) {
      if (!sequence->failed.ok() || sequence->Waiting() < 2 || room == 0) continue;
      const int32_t count = std::min(room, sequence->Waiting());
      AddRows(*sequence, count);
      room -= count;
      prompt_tokens += count;
    }
    forward_.Run(rows_);
    sampling_.clear();
    for (const auto& sequence : running_) {
      if (sequence->wants_sample) sampling_.push_back(sequence.get());
    }
    crew_.Run(static_cast<int32_t>(sampling_.size()), [this](int32_t i, int32_t) {
      Sequence& sequence = *sampling_[i];
      auto id =
          AppendSampled(forward_.LogitsOf(sequence.last_row), sequence.request.options, sequence.generation);
      if (!id.ok()) sequence.failed = id.status();
    });
    std::lock_guard lock(mutex_);
    ++counters_.steps;
    counters_.prompt_tokens += prompt_tokens;
    counters_.generated_tokens += sampling_.size();
  }

  void AddRows(Sequence& sequence, int32_t count) {
    sequence.wants_sample = count == sequence.Waiting();
    for (int32_t i = 0; i < count; ++i, ++sequence.cached) {
      const bool last = i + 1 == count && sequence.wants_sample;
      if (last) sequence.last_row = rows_.size();
      rows_.push_back({&sequence.cache, sequence.TokenAt(sequence.cached), sequence.cached, last});
    }
  }

  // Ends sequences that are done and tells their callers, outside the lock: a callback may submit.
  void Finish() {
    std::vector<std::unique_ptr<Sequence>> ended;
    for (auto& sequence : running_) {
      if (sequence->failed.ok() && sequence->wants_sample) Advance(*sequence);
      sequence->wants_sample = false;
      if (!sequence->failed.ok() || sequence->finished) ended.push_back(std::move(sequence));
    }
    std::erase(running_, nullptr);
    {
      std::lock_guard lock(mutex_);
      for (const auto& sequence : ended) Forget(sequence->request.number);
      counters_.running = static_cast<int32_t>(running_.size());
    }
    for (auto& sequence : ended) {
      if (sequence->failed.ok()) {
        sequence->request.done(std::move(sequence->generation));
      } else {
        sequence->request.done(sequence->failed);
      }
    }
  }

  // Takes in the token that was just sampled.
  void Advance(Sequence& sequence) {
    Generation& generation = sequence.generation;
    const SamplingOptions& options = sequence.request.options;
    const Tokenizer& tokenizer = model_.tokenizer();
    const int32_t id = generation.ids.back();
    const size_t before = sequence.bytes.size();
    sequence.bytes += tokenizer.DecodeBytes({&id, 1}, /*skip_specials=*/true);
    if (sequence.request.progress) sequence.request.progress({&id, 1});
    const std::vector<int32_t>& ends = tokenizer.end_ids();
    const size_t stop = StopAt(sequence.bytes, before, options.stop);
    const int32_t length = static_cast<int32_t>(sequence.request.prompt.size() + generation.ids.size());
    if (stop != std::string::npos) {
      sequence.bytes.resize(stop);
      generation.finish_reason = FinishReason::kStop;
    } else if (std::binary_search(ends.begin(), ends.end(), id)) {
      generation.finish_reason = FinishReason::kStop;
    } else if (static_cast<int32_t>(generation.ids.size()) == options.max_tokens ||
               length == options_.context) {
      generation.finish_reason = FinishReason::kLength;
    } else {
      return;
    }
    sequence.finished = true;
    generation.text = RepairUtf8(sequence.bytes);
  }

  // Where the earliest stop string begins that ends after `before`, or npos.
  static size_t StopAt(const std::string& bytes, size_t before, const std::vector<std::string>& stops) {
    size_t earliest = std::string::npos;
    for (const std::string& stop : stops) {
      const size_t from = before >= stop.size() ? before - stop.size() + 1 : 0;
      earliest = std::min(earliest, bytes.find(stop, from));
    }
    return earliest;
  }

  // Cancels everything at the end of the engine's life.
  void End() {
    std::vector<Request> rest;
    for (auto& sequence : running_) rest.push_back(std::move(sequence->request));
    running_.clear();
    {
      std::lock_guard lock(mutex_);
      for (Request& request : queue_) rest.push_back(std::move(request));
      queue_.clear();
      live_.clear();
    }
    for (Request& request : rest) request.done(absl::CancelledError("the engine is shutting down"));
  }

  const LlamaModel& model_;
  const LlamaEngineOptions options_;
  StepCrew crew_;
  LlamaForward forward_;
  std::vector<std::unique_ptr<Sequence>> running_;
  std::vector<LlamaRow> rows_;
  std::vector<Sequence*> sampling_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> queue_;
  std::set<uint64_t> live_;       // running and queued
  std::set<uint64_t> cancelled_;  // of them
  uint64_t last_number_ = 0;
  bool stop_ = false;
  Counters counters_;
  std::thread thread_;  // last: it uses everything above
};

absl::StatusOr<std::unique_ptr<LlamaEngine>> LlamaEngine::Create(std::shared_ptr<const LlamaModel> model,
                                                                 const LlamaEngineOptions& options) {
  LlamaEngineOptions o = options;
  if (o.max_sequences < 1 || o.max_sequences > 64) return Refuse("max_sequences", o.max_sequences, 1, 64);
  if (o.max_queued < 0 || o.max_queued > 65'536) return Refuse("max_queued", o.max_queued, 0, 65'536);
  if (o.step_rows < o.max_sequences || o.step_rows > 512)
    return Refuse("step_rows", o.step_rows, o.max_sequences, 512);
  const int32_t model_context = model->config().context;
  if (o.context == 0) o.context = std::min(model_context, kDefaultContext);
  if (o.context < 2 || o.context > model_context) return Refuse("context", o.context, 2, model_context);
  if (o.threads == 0) o.threads = std::min(StepCrew::DefaultThreads(), 256);
  if (o.threads < 1 || o.threads > 256) return Refuse("threads", o.threads, 1, 256);
  auto scheduler = std::make_unique<Scheduler>(*model, o);
  return std::unique_ptr<LlamaEngine>(new LlamaEngine(std::move(model), std::move(scheduler)));
}

LlamaEngine::LlamaEngine(std::shared_ptr<const LlamaModel> model, std::unique_ptr<Scheduler> scheduler)
    : model_(std::move(model)), scheduler_(std::move(scheduler)) {}

LlamaEngine::~LlamaEngine() = default;

absl::StatusOr<uint64_t> LlamaEngine::Submit(std::vector<int32_t> prompt, const SamplingOptions& options,
                                             Clock::time_point deadline, Done done, Progress progress) {
  if (auto s = ValidateSamplingOptions(options); !s.ok()) return s;
  const int64_t room = context() - 1;
  if (prompt.empty() || static_cast<int64_t>(prompt.size()) > room) {
    return absl::InvalidArgumentError("the prompt has " + std::to_string(prompt.size()) +
                                      " tokens; wanted 1 to " + std::to_string(room) +
                                      ", which leaves room for one more in the context");
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= model_->config().vocabulary) {
      return absl::InvalidArgumentError("the prompt holds token " + std::to_string(id) + "; wanted 0 to " +
                                        std::to_string(model_->config().vocabulary - 1));
    }
  }
  return scheduler_->Submit({0, std::move(prompt), options, deadline, std::move(done), std::move(progress)});
}

void LlamaEngine::Cancel(uint64_t number) {
  scheduler_->Cancel(number);
}

absl::StatusOr<Generation> LlamaEngine::Generate(std::vector<int32_t> prompt, const SamplingOptions& options,
                                                 Clock::time_point deadline) {
  // Shared, since the scheduler's thread may still be inside set_value when this call returns.
  auto promise = std::make_shared<std::promise<absl::StatusOr<Generation>>>();
  std::future<absl::StatusOr<Generation>> result = promise->get_future();
  auto number = Submit(std::move(prompt), options, deadline,
                       [promise](absl::StatusOr<Generation> g) { promise->set_value(std::move(g)); });
  if (!number.ok()) return number.status();
  return result.get();
}

int32_t LlamaEngine::context() const {
  return scheduler_->context();
}

LlamaEngine::Counters LlamaEngine::counters() const {
  return scheduler_->counters();
}

}  // namespace retort::student
