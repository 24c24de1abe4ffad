#include "services/jobs/extraction.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "ledger/hex.h"
#include "ledger/uuid.h"
#include "services/edge/status.h"
#include "services/jobs/sample.h"
#include "services/jobs/validate.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

using Clock = std::chrono::steady_clock;
using LedgerStub = ledger::v1::LedgerService::StubInterface;
using TeacherStub = teacher::v1::TeacherService::StubInterface;

constexpr int kLookupMax = 1000;  // ids in one LookupRequests
constexpr std::chrono::milliseconds kProgressEvery(100);

class Extraction {
 public:
  Extraction(JobContext& job, const v1::JobRecord& record)
      : job_(job), record_(record), uid_(record.job().uid()), progress_(record.job().progress()) {
    for (const v1::Obligation& obligation : record.obligations()) duties_.insert(KeyOf(obligation));
    tokenizer_known_ = record.has_tokenizer();
  }

  absl::StatusOr<StepEnd> Run() {
    if (auto loaded = Load(); !loaded.ok()) return Ended(loaded);
    started_ = Clock::now();
    earlier_seconds_ = progress_.extraction_seconds();
    const int asked = record_.job().spec().concurrency();
    const size_t threads = std::min<size_t>(asked == 0 ? kConcurrencyDefault : asked, todo_.size());
    if (threads > 0) {
      // A teacher that is away now must not use up attempts.
      if (auto there = AwaitTeacher(); !there.ok()) return Ended(there);
    }
    running_ = threads;
    std::vector<std::thread> workers;
    for (size_t i = 0; i < threads; ++i) workers.emplace_back([this] { Work(); });
    const absl::Status shown = ShowProgress();
    for (std::thread& worker : workers) worker.join();
    if (!shown.ok()) return Ended(shown);
    if (!fatal_.ok()) return Ended(fatal_);
    if (job_.stop().raised()) return Ended(absl::CancelledError("stopped"));
    if (progress_.samples_done() == 0 && !last_failure_.ok()) return last_failure_;
    auto changed = job_.Change("every prompt has been asked", [](v1::JobRecord& stored) {
      Advance(stored, v1::JobRecord::STAGE_DATASET, v1::Job::STATE_EXTRACTING);
    });
    if (!changed.ok()) return Ended(changed.status());
    return StepEnd::kNext;
  }

 private:
  struct Todo {
    int32_t index = 0;
    int32_t attempt = 1;
    std::optional<Clock::time_point> failing_since;
  };
  using DutyKey = std::tuple<std::string, std::string, std::string, std::string, std::string>;

  static DutyKey KeyOf(const v1::Obligation& duty) {
    return {duty.pack(), duty.rule(), duty.kind(), duty.trigger(), duty.text()};
  }

  // A stop is not an error of the job.
  absl::StatusOr<StepEnd> Ended(const absl::Status& status) const {
    switch (job_.stop().kind()) {
      case StopSignal::Kind::kNone:
        return status;
      case StopSignal::Kind::kCancel:
        return StepEnd::kNext;
      default:
        return StepEnd::kShutDown;
    }
  }

  // What is done already, by intents and the ledger; fills todo_ and the counters.
  absl::Status Load() {
    auto prompts = job_.place().store->ReadPrompts(uid_);
    if (!prompts.ok()) return prompts.status();
    prompts_ = *std::move(prompts);
    auto intents = job_.place().store->ReadIntents(uid_);
    if (!intents.ok()) return intents.status();
    std::vector<std::pair<int32_t, std::string>> ids;  // prompt index, request id
    for (const auto& [index, intent] : *intents) {
      for (int32_t attempt = 1; attempt <= intent.attempt(); ++attempt) {
        ids.emplace_back(index, ledger::SampleRequestId(uid_, index, attempt));
      }
    }
    std::unordered_set<int32_t> recorded;
    for (size_t start = 0; start < ids.size(); start += kLookupMax) {
      if (auto status = LookUp(ids, start, recorded); !status.ok()) return status;
    }
    std::vector<v1::SampleIntent> intent_of(prompts_.prompts_size());
    for (const auto& [index, intent] : *intents) intent_of.at(index) = intent;
    progress_.set_samples_failed(0);
    for (int32_t index = 0; index < prompts_.prompts_size(); ++index) {
      if (recorded.count(index) != 0) continue;
      if (!intent_of[index].failure_reason().empty()) {
        progress_.set_samples_failed(progress_.samples_failed() + 1);
      } else {
        todo_.push_back({index, intent_of[index].attempt() + 1});
      }
    }
    return Count();
  }

  absl::Status LookUp(const std::vector<std::pair<int32_t, std::string>>& ids, size_t start,
                      std::unordered_set<int32_t>& recorded) {
    const size_t end = std::min(ids.size(), start + kLookupMax);
    ledger::v1::LookupRequestsRequest request;
    request.set_parent(job_.project());
    for (size_t i = start; i < end; ++i) request.add_request_ids(ids[i].second);
    auto found = job_.Ask("ledger", *job_.place().peers->ledger, &LedgerStub::LookupRequests, request);
    if (!found.ok()) return found.status();
    for (size_t i = start; i < end; ++i) {
      if (found->entries().count(ids[i].second) != 0) recorded.insert(ids[i].first);
    }
    return absl::OkStatus();
  }

  absl::Status Count() {
    ledger::v1::CountSamplesRequest request;
    request.set_parent(job_.project());
    request.set_job_uid(uid_);
    auto counts = job_.Ask("ledger", *job_.place().peers->ledger, &LedgerStub::CountSamples, request);
    if (!counts.ok()) return counts.status();
    progress_.set_samples_done(counts->asked());
    progress_.set_samples_allowed(counts->allowed());
    progress_.set_samples_review(counts->review());
    progress_.set_samples_denied(counts->denied());
    return absl::OkStatus();
  }

  absl::Status AwaitTeacher() {
    teacher::v1::GetTeacherRequest request;
    request.set_name(job_.project() + "/teachers/" + record_.job().spec().teacher());
    return job_.Ask("teacher", *job_.place().peers->teacher, &TeacherStub::GetTeacher, request).status();
  }

  // Writes the counters while the workers are at it, at most every kProgressEvery.
  absl::Status ShowProgress() {
    absl::Status written;
    for (bool last = false; !last;) {
      v1::Progress now;
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kProgressEvery, [&] { return running_ == 0; });
        last = running_ == 0;
        if (!dirty_ && !last) continue;
        dirty_ = false;
        progress_.set_extraction_seconds(earlier_seconds_ +
                                         std::chrono::duration<double>(Clock::now() - started_).count());
        now = progress_;
      }
      if (!written.ok()) continue;
      written =
          job_.Change("", [&](v1::JobRecord& stored) { *stored.mutable_job()->mutable_progress() = now; })
              .status();
      if (written.ok()) continue;
      std::lock_guard lock(mutex_);  // the workers stop at their next prompt
      if (fatal_.ok()) fatal_ = written;
    }
    return written;
  }

  void Work() {
    for (Todo todo; Next(todo);) {
      const absl::Status status = AskPrompt(todo);
      if (status.ok()) continue;
      std::lock_guard lock(mutex_);
      if (fatal_.ok()) fatal_ = status;
    }
    std::lock_guard lock(mutex_);
    if (--running_ == 0) changed_.notify_all();
  }

  bool Next(Todo& todo) {
    std::lock_guard lock(mutex_);
    if (todo_.empty() || !fatal_.ok() || job_.stop().raised()) return false;
    todo = todo_.front();
    todo_.pop_front();
    return true;
  }

  // OK: in the ledger, or given up. Errors end the extraction.
  absl::Status AskPrompt(Todo todo) {
    for (int errors = 0;; ++todo.attempt) {
      if (job_.stop().raised()) return absl::CancelledError("stopped");
      if (auto status = WriteIntent(todo, ""); !status.ok()) return status;
      auto answer = CallOnce(job_.stop(), *job_.place().peers->teacher, &TeacherStub::Extract,
                             RequestFor(todo), kExtractDeadline);
      if (answer.ok()) return RecordAnswer(*answer);
      if (job_.stop().aborted()) return answer.status();
      const absl::Status& failure = answer.status();
      const ExtractFailure kind = Classify(failure);
      if (kind == ExtractFailure::kEndpoint) return failure;
      if (kind == ExtractFailure::kAway && !absl::IsDeadlineExceeded(failure)) {
        if (auto status = WaitForTeacher(failure); !status.ok()) return status;
        continue;
      }
      ++errors;
      const bool hopeless = services::ReasonOf(failure) == TEACHER_REJECTED;
      const bool away = kind == ExtractFailure::kPassing && EndpointIsAway(todo);
      if (errors >= job_.place().patience.sample_tries && away) return TryLater(todo, failure);
      if (hopeless || errors >= job_.place().patience.sample_tries) return GiveUp(todo, failure);
      if (job_.stop().SleepUnless(StopSignal::Kind::kCancel, job_.place().patience.pauses.Before(errors))) {
        return absl::CancelledError("stopped");
      }
    }
  }

  // Whether what fails is the endpoint and not this prompt: nobody has had an answer since it began to fail,
  // and that is not longer ago than a job waits.
  bool EndpointIsAway(Todo& todo) {
    std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (!todo.failing_since.has_value()) todo.failing_since = now;
    if (!unanswered_since_.has_value()) unanswered_since_ = now;
    return last_answer_ < *todo.failing_since && now - *unanswered_since_ < job_.place().patience.outage;
  }

  // Puts the prompt behind the others, so that it cannot stand in their way, and rests.
  absl::Status TryLater(Todo todo, const absl::Status& failure) {
    job_.Waiting("teacher", failure);
    int rests = 0;
    {
      std::lock_guard lock(mutex_);
      rests = ++rests_;
      ++todo.attempt;
      todo_.push_back(todo);
    }
    if (job_.stop().SleepUnless(StopSignal::Kind::kCancel, job_.place().patience.pauses.Before(rests)))
      return absl::CancelledError("stopped");
    return absl::OkStatus();
  }

  absl::Status WaitForTeacher(const absl::Status& failure) {
    job_.Waiting("teacher", failure);
    if (job_.stop().SleepUnless(StopSignal::Kind::kCancel, job_.place().patience.pauses.first)) {
      return absl::CancelledError("stopped");
    }
    if (auto there = AwaitTeacher(); !there.ok()) return there;
    job_.Waiting("teacher", absl::OkStatus());
    return absl::OkStatus();
  }

  teacher::v1::ExtractRequest RequestFor(const Todo& todo) const {
    const v1::Prompt& prompt = prompts_.prompts(todo.index);
    teacher::v1::ExtractRequest request;
    request.set_teacher(job_.project() + "/teachers/" + record_.job().spec().teacher());
    teacher::v1::SampleKey& key = *request.mutable_key();
    key.set_job(job_.name());
    key.set_job_uid(uid_);
    key.set_prompt_id(prompt.id());
    key.set_index(todo.index);
    key.set_attempt(todo.attempt);
    key.set_split(prompt.split().empty() ? "train" : prompt.split());
    if (!prompt.system().empty()) {
      auto& system = *request.add_messages();
      system.set_role("system");
      system.set_content(prompt.system());
    }
    auto& user = *request.add_messages();
    user.set_role("user");
    user.set_content(prompt.text());
    *request.mutable_sampling() = record_.job().spec().sampling();
    return request;
  }

  absl::Status RecordAnswer(const teacher::v1::ExtractResponse& answer) {
    RecordOptions options;
    options.project = job_.project();
    options.pauses = job_.place().patience.pauses;
    options.waiting = [this](std::string_view peer, const absl::Status& status) {
      job_.Waiting(peer, status);
    };
    options.before_append = [&](const ledger::DecisionStatement& decision,
                                const ledger::CaptureStatement& capture) {
      return KeepWhatReleaseNeeds(decision, capture, answer);
    };
    auto recorded =
        Record(*job_.place().peers, *job_.place().packs, job_.stop(), answer,
               FactsOf(record_.teacher(), record_.job().spec(), "scripted", job_.place().now()), options);
    if (!recorded.ok()) return recorded.status();
    if (EndOutage()) job_.Waiting("teacher", absl::OkStatus());
    std::lock_guard lock(mutex_);
    dirty_ = true;
    consecutive_failures_ = 0;
    progress_.set_samples_done(progress_.samples_done() + 1);
    progress_.set_teacher_tokens(progress_.teacher_tokens() + recorded->completion_tokens);
    if (recorded->effect == "allow") progress_.set_samples_allowed(progress_.samples_allowed() + 1);
    if (recorded->effect == "review") progress_.set_samples_review(progress_.samples_review() + 1);
    if (recorded->effect == "deny") progress_.set_samples_denied(progress_.samples_denied() + 1);
    return absl::OkStatus();
  }

  // An answer came. True when some worker rested for the lack of one.
  bool EndOutage() {
    std::lock_guard lock(mutex_);
    last_answer_ = Clock::now();
    unanswered_since_.reset();
    return std::exchange(rests_, 0) > 0;
  }

  // Duties and tokenizer of a sample are durable before the sample is, so that no crash can lose one. Both
  // change once or twice in a job.
  absl::Status KeepWhatReleaseNeeds(const ledger::DecisionStatement& decision,
                                    const ledger::CaptureStatement& capture,
                                    const teacher::v1::ExtractResponse& answer) {
    std::lock_guard lock(duties_mutex_);
    std::vector<v1::Obligation> fresh;
    if (decision.effect == "allow") {
      for (const ledger::DecidedObligation& duty : decision.obligations) {
        if (v1::Obligation proto = ToProto(duty); duties_.count(KeyOf(proto)) == 0)
          fresh.push_back(std::move(proto));
      }
    }
    v1::Tokenizer tokenizer;
    if (!tokenizer_known_ && !capture.tokenizer_sha256.empty()) {
      teacher::v1::SamplePayload payload;
      if (!payload.ParseFromString(answer.payload()))
        return absl::InternalError("the teacher's payload does not parse");
      tokenizer.set_sha256(payload.trace().tokenizer_sha256());
      tokenizer.set_vocabulary_size(payload.trace().vocabulary_size());
    }
    if (fresh.empty() && tokenizer.sha256().empty()) return absl::OkStatus();
    auto changed = job_.Change("", [&](v1::JobRecord& stored) {
      for (const v1::Obligation& duty : fresh) *stored.add_obligations() = duty;
      if (!tokenizer.sha256().empty()) *stored.mutable_tokenizer() = tokenizer;
    });
    if (!changed.ok()) return changed.status();
    for (const v1::Obligation& duty : fresh) duties_.insert(KeyOf(duty));
    tokenizer_known_ = tokenizer_known_ || !tokenizer.sha256().empty();
    return absl::OkStatus();
  }

  absl::Status GiveUp(const Todo& todo, const absl::Status& failure) {
    const ErrorReason reason = services::ReasonOf(failure);
    const ErrorReason kept = reason == ERROR_REASON_UNSPECIFIED ? TEACHER_TIMEOUT : reason;
    if (auto status = WriteIntent(todo, ErrorReason_Name(kept)); !status.ok()) return status;
    std::lock_guard lock(mutex_);
    dirty_ = true;
    progress_.set_samples_failed(progress_.samples_failed() + 1);
    last_failure_ = services::WithReason(failure, kept);
    if (++consecutive_failures_ < job_.place().patience.failed_samples_max) return absl::OkStatus();
    return last_failure_;
  }

  absl::Status WriteIntent(const Todo& todo, const std::string& failure_reason) {
    v1::SampleIntent intent;
    intent.set_attempt(todo.attempt);
    intent.set_failure_reason(failure_reason);
    for (int tries = 1;; ++tries) {
      if (job_.stop().aborted()) return absl::CancelledError("the server is stopping");
      const absl::Status status = job_.place().store->WriteIntents(uid_, {{todo.index, intent}});
      if (!absl::IsUnavailable(status)) return status;
      job_.Waiting("storage", status);
      if (job_.stop().SleepUnless(StopSignal::Kind::kCancel, job_.place().patience.pauses.Before(tries))) {
        return absl::CancelledError("stopped");
      }
    }
  }

  JobContext& job_;
  const v1::JobRecord record_;
  const std::string uid_;
  v1::PromptSet prompts_;
  Clock::time_point started_;
  double earlier_seconds_ = 0;

  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::deque<Todo> todo_;
  v1::Progress progress_;
  bool dirty_ = false;
  size_t running_ = 0;
  int consecutive_failures_ = 0;
  Clock::time_point last_answer_;                      // the beginning of the clock: none yet
  std::optional<Clock::time_point> unanswered_since_;  // the first failure after the last answer
  int rests_ = 0;                                      // that workers took since then
  absl::Status fatal_, last_failure_;

  std::mutex duties_mutex_;  // guards the two below
  std::set<DutyKey> duties_;
  bool tokenizer_known_ = false;
};

}  // namespace

absl::StatusOr<StepEnd> Extract(JobContext& job, const v1::JobRecord& record) {
  return Extraction(job, record).Run();
}

}  // namespace retort::jobs
