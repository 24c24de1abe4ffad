#include "services/jobs/training_step.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#include "services/edge/status.h"
#include "services/jobs/job_view.h"
#include "services/jobs/launcher.h"
#include "services/jobs/trainer_event.h"
#include "services/jobs/trainer_launcher.h"
#include "services/jobs/trainer_log.h"

namespace retort::jobs {
namespace {

using Clock = std::chrono::steady_clock;
using LedgerStub = ledger::v1::LedgerService::StubInterface;

constexpr std::chrono::milliseconds kProgressEvery(100);
constexpr std::chrono::milliseconds kTurnEvery(100);

absl::Status Failed(std::string message) {
  return services::WithReason(absl::InternalError(std::move(message)), TRAINING_FAILED);
}

bool IsFinished(const v1::JobRecord& record, const std::string& run) {
  for (const v1::FinishedRun& finished : record.finished_runs()) {
    if (finished.run() == run) return true;
  }
  return false;
}

// An error that another launch cannot mend.
bool IsFinal(const TrainerError& error) {
  return error.code == "INVALID_ARGUMENT" || error.code == "FAILED_PRECONDITION" ||
         error.code == "DATA_LOSS" || error.code == "NOT_FOUND" || error.code == "PERMISSION_DENIED";
}

// One launch of the trainer, and what it says, written onto the job.
class LaunchVoice {
 public:
  LaunchVoice(JobContext& job, const v1::JobRecord& record, std::string run)
      : job_(job),
        run_(std::move(run)),
        finished_steps_(static_cast<int64_t>(record.finished_runs_size()) *
                        record.job().spec().training().steps()),
        started_(Clock::now()) {}

  void OnLine(const TrainerLine& line) {
    auto event = ParseTrainerEvent(line.text);
    if (!event.ok()) return;  // a newer trainer may say more than is known here; its log keeps everything
    position_ = line.position;
    replayed_ = line.replayed;
    std::visit([this](const auto& e) { On(e); }, *event);
  }

  // Says on the job why the ranks have not begun.
  void OnWaiting(bool cluster_away, const std::string& why) {
    const char* reason = why.empty() ? "" : cluster_away ? "PEER_UNAVAILABLE" : "TRAINING_WAITS";
    const std::string message = why.empty() ? "" : (cluster_away ? "waiting for the cluster: " : "") + why;
    // A message that cannot be stored now is no reason to stop waiting.
    job_.Change(message.empty() ? run_ + " is under way" : message,
                [&](v1::JobRecord& stored) {
                  const v1::Job::State state = stored.job().state();
                  if (state == v1::Job::STATE_CANCELLING || state == v1::Job::STATE_PAUSING) return;
                  stored.mutable_job()->set_state_reason(reason);
                  stored.mutable_job()->set_state_message(message);
                  stored.mutable_job()->set_blocking_resource(message.empty() ? "" : kCluster);
                })
        .IgnoreError();
  }

  // Writes what was held back.
  void Flush() {
    if (dirty_) Write("");
  }

  const std::optional<TrainerError>& error() const { return error_; }
  const std::optional<TrainerFinished>& finished() const { return finished_; }
  // True when this launch wrote a checkpoint beyond the one that it went on from.
  bool advanced() const { return advanced_; }

  // Seconds since the last step; 0 when there was none in this launch.
  double EvaluationSeconds() const {
    if (trained_ == Clock::time_point()) return 0;
    return std::chrono::duration<double>(Clock::now() - trained_).count();
  }

 private:
  void On(const TrainerStarted& e) {
    resumed_step_ = e.resumed_step;
    // Kueue can put a launch out and let it in again; what the first pod trained after its checkpoint comes
    // again.
    Flush();
    last_step_ = {};
    if (replayed_) return;
    Change("training " + run_ +
               (e.resumed_step > 0 ? " goes on at step " + std::to_string(e.resumed_step) : " begins"),
           [&](v1::JobRecord& stored) {
             v1::Progress& progress = *stored.mutable_job()->mutable_progress();
             progress.set_training_run(run_);
             progress.set_student_parameters(e.parameters);
             progress.set_student_active_parameters(e.active_parameters);
             progress.set_steps_done(finished_steps_ + e.resumed_step);
             progress.clear_training_report();  // of a process that is gone
           });
  }

  void On(const TrainerStep& e) {
    last_step_ = e;
    if (e.step >= e.steps) trained_ = Clock::now();
    if (replayed_) return;
    tokens_ += e.tokens;
    dirty_ = true;
    if (Clock::now() - written_ < kProgressEvery && e.step < e.steps) return;
    char text[96];
    snprintf(text, sizeof text, "%s step %lld of %lld, loss %.4f", run_.c_str(),
             static_cast<long long>(e.step), static_cast<long long>(e.steps), e.loss);
    Write(text);
  }

  void On(const TrainerReport& e) {
    report_ = e;
    if (!replayed_) Write("");
  }

  void On(const TrainerCheckpoint& e) {
    if (e.step > resumed_step_) advanced_ = true;
    if (replayed_) return;
    Write(run_ + " checkpoint " + e.digest.substr(0, 12) + " at step " + std::to_string(e.step));
  }

  void On(const TrainerQuality& e) {
    if (replayed_) return;
    Flush();
    // Before the first step a trainer measures the untrained student; that is still the training of the run.
    const bool evaluating = last_step_.steps > 0 && last_step_.step >= last_step_.steps;
    Change("measured " + e.student, [&](v1::JobRecord& stored) {
      v1::Job& job = *stored.mutable_job();
      auto place = std::find_if(job.mutable_quality()->begin(), job.mutable_quality()->end(),
                                [&](const v1::Quality& quality) { return quality.student() == e.student; });
      v1::Quality& quality = place == job.mutable_quality()->end() ? *job.add_quality() : *place;
      quality.set_student(e.student);
      quality.set_kl(e.kl);
      quality.set_agreement(e.agreement);
      quality.set_perplexity(e.perplexity);
      quality.set_tokens(e.tokens);
      if (evaluating) Advance(stored, v1::JobRecord::STAGE_TRAINING, v1::Job::STATE_EVALUATING);
    });
  }

  void On(const TrainerFinished& e) { finished_ = e; }
  void On(const TrainerError& e) { error_ = e; }

  void Write(const std::string& text) {
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - std::exchange(started_, now)).count();
    const int64_t tokens = std::exchange(tokens_, 0);
    dirty_ = false;
    written_ = now;
    Change(text, [&](v1::JobRecord& stored) {
      if (last_step_.steps > 0 && last_step_.step < last_step_.steps) {
        Advance(stored, v1::JobRecord::STAGE_TRAINING, v1::Job::STATE_TRAINING);
      }
      v1::Progress& progress = *stored.mutable_job()->mutable_progress();
      if (last_step_.steps > 0) {
        progress.set_steps_done(finished_steps_ + last_step_.step);
        progress.set_loss(last_step_.loss);
      }
      if (report_) CopyReport(*report_, *progress.mutable_training_report());
      progress.set_training_tokens(progress.training_tokens() + tokens);
      progress.set_training_seconds(progress.training_seconds() + seconds);
    });
  }

  static void CopyReport(const TrainerReport& from, v1::TrainingReport& to) {
    to.Clear();
    to.set_seconds(from.seconds);
    to.set_tokens_per_second(from.tokens_per_second);
    v1::TrainingPhases& phases = *to.mutable_phases();
    phases.set_data(from.data);
    phases.set_forward(from.forward);
    phases.set_backward(from.backward);
    phases.set_optimizer(from.optimizer);
    phases.set_communication(from.communication);
    phases.set_checkpoint(from.checkpoint);
    to.set_flops_per_second(from.flops_per_second);
    if (from.peak_flops_per_second) to.set_peak_flops_per_second(*from.peak_flops_per_second);
    if (from.mfu) to.set_mfu(*from.mfu);
    if (from.prediction_loss) to.set_prediction_loss(*from.prediction_loss);
    for (const double load : from.expert_load) to.add_expert_load(load);
    to.set_resident_bytes(from.resident_bytes);
    if (from.device_memory_bytes) to.set_device_memory_bytes(*from.device_memory_bytes);
    if (from.celsius) to.set_celsius(*from.celsius);
    if (from.watts) to.set_watts(*from.watts);
    to.set_energy_source(from.energy_source);
    if (from.joules) to.set_joules(*from.joules);
  }

  // What cannot be stored now is only progress; the job's own steps notice a store that does not write. The
  // line's position is stored with its effect, so that the effect comes once, whenever this process dies.
  void Change(std::string_view text, const std::function<void(v1::JobRecord&)>& change) {
    job_.Change(text,
                [&](v1::JobRecord& stored) {
                  change(stored);
                  if (!position_.empty()) stored.mutable_launch()->set_position(position_);
                })
        .IgnoreError();
  }

  JobContext& job_;
  const std::string run_;
  const int64_t finished_steps_;
  Clock::time_point started_;  // of the seconds that are not yet on the job
  Clock::time_point written_;
  Clock::time_point trained_;  // when the last step ended
  TrainerStep last_step_;
  std::optional<TrainerReport> report_;
  int64_t tokens_ = 0;
  int64_t resumed_step_ = 0;
  bool dirty_ = false, advanced_ = false;
  std::string position_;   // of the newest line
  bool replayed_ = false;  // it, by an earlier process
  std::optional<TrainerError> error_;
  std::optional<TrainerFinished> finished_;
};

// Waits for the machine's one training place, where training is on this machine.
absl::StatusOr<std::unique_lock<std::timed_mutex>> TakeTurn(JobContext& job) {
  if (!job.place().launcher->uses_this_machine()) return std::unique_lock<std::timed_mutex>();
  std::unique_lock turn(job.place().training, std::try_to_lock);
  if (turn.owns_lock()) return turn;
  auto said = job.Change("waiting for another job's training to end", [](v1::JobRecord& stored) {
    if (stored.job().state() == v1::Job::STATE_CANCELLING || stored.job().state() == v1::Job::STATE_PAUSING)
      return;
    stored.mutable_job()->set_state_reason("WAITING_FOR_TRAINING");
    stored.mutable_job()->set_state_message("waiting for another job's training to end");
    stored.mutable_job()->set_blocking_resource(kTrainingPlace);
  });
  if (!said.ok()) return said.status();
  while (!turn.try_lock_for(kTurnEvery)) {
    if (job.stop().raised()) return absl::CancelledError("stopped");
  }
  return turn;
}

absl::StatusOr<std::string> LogKey(JobContext& job) {
  ledger::v1::GetCheckpointRequest request;
  request.set_name(job.project() + "/ledgers/main");
  auto checkpoint = job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::GetCheckpoint, request);
  if (!checkpoint.ok()) return checkpoint.status();
  return checkpoint->vkey();
}

LaunchOrder OrderOf(StopSignal::Kind kind) {
  switch (kind) {
    case StopSignal::Kind::kNone:
      return LaunchOrder::kGoOn;
    case StopSignal::Kind::kCancel:
      return LaunchOrder::kStop;
    case StopSignal::Kind::kShutdown:
      return LaunchOrder::kLeave;
    case StopSignal::Kind::kAbort:
      break;
  }
  return LaunchOrder::kLeaveNow;
}

// The launch is over, and that is being recorded: the next one has another number.
void EndLaunch(v1::JobRecord& record) {
  v1::LaunchRecord& launch = *record.mutable_launch();
  launch.set_ended(launch.ended() + 1);
  launch.clear_promise();
  launch.clear_position();
}

// Removes what launches of the run have left with the launcher; true when nothing runs any more.
bool ClearLaunches(JobContext& job, const v1::JobRecord& record, const std::string& run) {
  const absl::Status cleared = job.place().launcher->Clear(record.job().uid(), run, [&] {
    return OrderOf(std::max(job.stop().kind(), StopSignal::Kind::kCancel));
  });
  if (cleared.ok()) return true;
  if (!absl::IsCancelled(cleared)) {
    job.Change("what run " + run + " has left is not removed: " + std::string(cleared.message()),
               [](v1::JobRecord&) {})
        .IgnoreError();
  }
  return false;
}

// One launch to its end. OK with true: the run has finished; with false: launch again.
absl::StatusOr<bool> LaunchOnce(JobContext& job, const v1::JobRecord& record, const std::string& run) {
  const TrainerProgram& program = job.place().launched;
  const std::filesystem::path folder = job.place().runs_dir / record.job().uid() / run;
  auto manifest = ManifestOf(record, run, program);
  if (!manifest.ok())
    return Failed("manifest of run " + run + ": " + std::string(manifest.status().message()));
  if (auto prepared = PrepareRunFolder(folder, *manifest); !prepared.ok()) return prepared.status();
  auto log_vkey = LogKey(job);
  if (!log_vkey.ok()) return log_vkey.status();

  LaunchVoice voice(job, record, run);
  TrainerLaunch launch;
  launch.job = record.job().name();
  launch.job_uid = record.job().uid();
  launch.run = run;
  launch.number = record.launch().ended() + 1;
  launch.world = RanksOf(record);
  launch.arguments = TrainerArguments(record, run, folder, *log_vkey, program);
  launch.folder = folder;
  launch.promise = record.launch().promise();
  launch.position = record.launch().position();
  launch.order = [&] { return OrderOf(job.stop().kind()); };
  launch.on_line = [&](const TrainerLine& line) { voice.OnLine(line); };
  launch.on_waiting = [&](bool away, const std::string& why) { voice.OnWaiting(away, why); };
  launch.keep_promise = [&](const std::string& promise) {
    return job
        .Change("",
                [&](v1::JobRecord& stored) {
                  stored.mutable_launch()->set_promise(promise);
                  stored.mutable_launch()->clear_position();
                })
        .status();
  };
  const std::filesystem::path trainer_log = folder / "train.log";
  const int64_t logged = BytesOf(trainer_log);
  auto end = job.place().launcher->Run(launch);
  // A log that cannot be written now stays in the trainer's own file.
  job.place().store->AppendLog(record.job().uid(), TrainerLines(trainer_log, logged)).IgnoreError();
  if (!end.ok()) return Failed("the trainer could not be started: " + std::string(end.status().message()));
  voice.Flush();
  if (end->left) return absl::CancelledError("stopped");
  if (const auto metrics = MetricsPath(record, run, program); !metrics.empty()) {
    std::error_code gone;  // the trainer removes its file, unless it was killed
    std::filesystem::remove(metrics, gone);
  }
  if (voice.finished().has_value() && end->well) {
    const TrainerFinished& finished = *voice.finished();
    auto changed = job.Change("run " + run + " has finished", [&](v1::JobRecord& stored) {
      v1::FinishedRun& row = *stored.add_finished_runs();
      row.set_run(run);
      row.set_step(finished.step);
      row.set_checkpoint_digest(finished.digest);
      row.set_entry(finished.entry);
      row.set_student_dir(finished.student_dir);
      stored.set_failed_launches(0);
      EndLaunch(stored);
      v1::Progress& progress = *stored.mutable_job()->mutable_progress();
      progress.set_evaluation_seconds(progress.evaluation_seconds() + voice.EvaluationSeconds());
    });
    if (!changed.ok()) return changed.status();
    ClearLaunches(job, record, run);
    return true;
  }
  if (job.stop().kind() == StopSignal::Kind::kCancel) {
    // It stopped because somebody paused or cancelled; when the job goes on, another launch does.
    if (auto over = job.Change("the trainer has stopped", EndLaunch); !over.ok()) return over.status();
  }
  if (job.stop().raised()) return absl::CancelledError("stopped");

  std::string why = "retort-train ended with " + end->description;
  if (voice.error().has_value()) why += ", " + voice.error()->code + ": " + voice.error()->message;
  auto changed = job.Change(why, [&](v1::JobRecord& stored) {
    // One that was told to stop, by whomever, and got further has not failed.
    stored.set_failed_launches(!voice.advanced() ? stored.failed_launches() + 1 : end->stopped ? 0 : 1);
    EndLaunch(stored);
  });
  if (!changed.ok()) return changed.status();
  const int failures = changed->failed_launches();
  const bool final = voice.error().has_value() && IsFinal(*voice.error());
  if (final || failures >= job.place().patience.failed_launches_max) {
    return Failed(why + "; launches without a new checkpoint: " + std::to_string(failures));
  }
  if (job.stop().SleepUnless(StopSignal::Kind::kCancel, job.place().patience.pauses.Before(failures))) {
    return absl::CancelledError("stopped");
  }
  return false;
}

absl::Status TrainRuns(JobContext& job, const v1::JobRecord& record) {
  auto turn = TakeTurn(job);
  if (!turn.ok()) return turn.status();
  const std::vector<std::string> runs = RunsOf(record);
  for (const std::string& run : runs) {
    for (;;) {
      auto now = job.Change("", [&](v1::JobRecord& stored) {
        Advance(stored, v1::JobRecord::STAGE_TRAINING, v1::Job::STATE_TRAINING);
        v1::Progress& progress = *stored.mutable_job()->mutable_progress();
        progress.set_training_run(run);
        progress.set_steps_total(static_cast<int64_t>(runs.size()) * stored.job().spec().training().steps());
      });
      if (!now.ok()) return now.status();
      if (IsFinished(*now, run)) break;
      if (job.stop().raised()) return absl::CancelledError("stopped");
      if (auto finished = LaunchOnce(job, *now, run); !finished.ok()) return finished.status();
    }
  }
  return job
      .Change("every run has finished",
              [&](v1::JobRecord& stored) {
                for (const v1::FinishedRun& run : stored.finished_runs()) {
                  if (run.run() == runs.front())
                    stored.mutable_job()->mutable_entries()->set_training_finish(run.entry());
                }
                Advance(stored, v1::JobRecord::STAGE_RELEASE, v1::Job::STATE_EVALUATING);
              })
      .status();
}

}  // namespace

void SettleUsage(JobContext& job, const v1::JobRecord& record) {
  const TrainerProgram& program = job.place().trainer;
  for (const std::string& run : RunsOf(record)) {
    const std::filesystem::path folder = job.place().runs_dir / record.job().uid() / run;
    std::error_code error;
    if (!std::filesystem::exists(folder, error)) continue;  // never launched
    if (!ClearLaunches(job, record, run)) continue;         // a trainer may still write its records
    if (!std::filesystem::is_directory(folder / "usage", error)) continue;
    ProgramRun child;
    child.program = program.program;
    child.arguments = SettleArguments(record, run, folder, program);
    child.stderr_path = (folder / "train.log").string();
    child.should_stop = [&] { return job.stop().kind() >= StopSignal::Kind::kShutdown; };
    child.must_stop = [&] { return job.stop().aborted(); };
    const auto end = RunProgram(child);
    if (end.ok() && end->signal == 0 && end->exit_code == 0) continue;
    const std::string why = end.ok() ? end->Describe() : std::string(end.status().message());
    job.Change("what run " + run + " used is not all in the ledger (" + why + "); its folder has the records",
               [](v1::JobRecord&) {})
        .IgnoreError();
  }
}

absl::StatusOr<StepEnd> Train(JobContext& job, const v1::JobRecord& record) {
  const absl::Status status = TrainRuns(job, record);
  switch (job.stop().kind()) {
    case StopSignal::Kind::kShutdown:
    case StopSignal::Kind::kAbort:
      return StepEnd::kShutDown;
    case StopSignal::Kind::kCancel:
      return StepEnd::kNext;
    case StopSignal::Kind::kNone:
      break;
  }
  if (!status.ok()) return status;
  return StepEnd::kNext;
}

}  // namespace retort::jobs
