#include "services/jobs/kubernetes_launcher.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "nlohmann/json.hpp"
#include "services/kubernetes/log_follower.h"
#include "services/kubernetes/object_watcher.h"

namespace retort::jobs {
namespace {

using Clock = std::chrono::steady_clock;
using kubernetes::ContainerEnd;
using kubernetes::JobState;
using kubernetes::LogFollower;
using kubernetes::Object;
using kubernetes::ObjectWatcher;
using kubernetes::PodState;

constexpr std::chrono::milliseconds kTurn(100);
constexpr std::chrono::seconds kKueueEvery(5);
constexpr std::chrono::seconds kLogPatience(30);  // with the end of a log of which no line comes
constexpr std::chrono::seconds kPodsPatience(5);  // with pods that lag behind their Job
constexpr std::chrono::seconds kSilentWait(10);   // a Job without pods for that long is worth a word
constexpr std::chrono::seconds kAwayPatience(2);  // a connection that is away for less is not worth one
constexpr size_t kLastLinesBytesMax = 300;

std::string JobsPath(const KubernetesOptions& options) {
  return "/apis/batch/v1/namespaces/" + options.name_space + "/jobs";
}
std::string PodsPath(const KubernetesOptions& options) {
  return "/api/v1/namespaces/" + options.name_space + "/pods";
}

// What neither waiting nor another try mends: a verb that the Role lacks, an object that the server refuses,
// a Job that is not ours. An unreadable token or an untrusted certificate is waited for, since both are
// replaced in a running pod.
bool IsFinal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) || absl::IsAlreadyExists(status);
}

// Deletes exactly the object that was looked at: one that was replaced or has changed since is refused by the
// server with a conflict, and then looked at again.
std::string DeleteBody(const Object& job) {
  return nlohmann::json{{"apiVersion", "v1"},
                        {"kind", "DeleteOptions"},
                        {"propagationPolicy", "Foreground"},
                        {"preconditions", {{"uid", job.uid}, {"resourceVersion", job.resource_version}}}}
      .dump();
}

// The last lines of a rank that ended ill, on one line.
std::string LastWords(const ContainerEnd& end) {
  std::string words = end.message;
  while (!words.empty() && words.back() == ' ') words.pop_back();
  if (words.size() > kLastLinesBytesMax) words.erase(0, words.size() - kLastLinesBytesMax);
  // The cut may have left half a character.
  while (!words.empty() && (static_cast<unsigned char>(words.front()) & 0xC0) == 0x80) words.erase(0, 1);
  return words;
}

// Follows one run: its Jobs and pods. Belongs to the calling thread.
class RunFollower {
 public:
  RunFollower(const KubernetesOptions& options, const std::string& job_uid, const std::string& run,
              std::function<LaunchOrder()> order)
      : options_(options),
        order_(std::move(order)),
        client_(options.server, transfers_),
        jobs_(client_, ObjectWatcher::Kind::kJobs, JobsPath(options), kubernetes::SelectorOf(job_uid, run)),
        pods_(client_, ObjectWatcher::Kind::kPods, PodsPath(options), kubernetes::SelectorOf(job_uid, run),
              [this](const Object& pod) { OnPod(pod); }) {}
  virtual ~RunFollower() = default;

 protected:
  // A pod has come, changed, or gone; then this is its last state.
  virtual void OnPod(const Object&) {}

  LaunchOrder order() const { return order_ ? order_() : LaunchOrder::kGoOn; }
  bool leaving() const { return order() >= LaunchOrder::kLeave; }

  // Removes a Job and its pods; OK also when it has changed or gone meanwhile: the next look says.
  absl::Status Delete(const Object& job) {
    const auto answer =
        client_.Call("delete jobs.batch " + job.name, "DELETE", JobsPath(options_) + "/" + job.name, {},
                     DeleteBody(job), [this] { return leaving(); });
    jobs_.Forget();
    if (answer.ok() || absl::IsNotFound(answer.status()) || absl::IsAborted(answer.status()))
      return absl::OkStatus();
    return answer.status();
  }

  const KubernetesOptions& options_;
  const std::function<LaunchOrder()> order_;
  kubernetes::Transfers transfers_;
  kubernetes::ApiClient client_;
  ObjectWatcher jobs_, pods_;
  kubernetes::Pause pause_;  // after a call that failed
};

// One launch, from its Job to its end.
class Launch final : public RunFollower {
 public:
  Launch(const KubernetesOptions& options, const TrainerLaunch& launch, std::string owner)
      : RunFollower(options, launch.job_uid, launch.run, launch.order),
        launch_(launch),
        owner_(std::move(owner)) {
    wanted_ = {launch.job,   launch.job_uid,   launch.run,   launch.number,
               launch.world, launch.arguments, launch.folder};
    name_ = kubernetes::JobName(wanted_);
    log_file_.open(launch.folder / "train.log", std::ios::app | std::ios::binary);
  }

  absl::StatusOr<LaunchEnd> Follow() {
    auto object = kubernetes::BuildJob(options_.pod, wanted_, owner_);
    if (!object.ok()) return object.status();
    object_ = *std::move(object);
    promised_ = launch_.promise.empty() ? object_.digest : launch_.promise;
    for (;;) {
      transfers_.Poll(kTurn);
      if (leaving()) return LaunchEnd{.left = true, .description = "left to itself"};
      jobs_.Advance();
      pods_.Advance();
      if (auto watched = SayWhoIsAway(); !watched.ok()) return watched;
      if (!jobs_.synced() || !pods_.synced()) continue;
      auto end = Look();
      if (!end.ok()) {
        if (absl::IsCancelled(end.status())) continue;  // the order has changed while a call waited
        if (IsFinal(end.status())) return end.status();
        Wait(true, std::string(end.status().message()));
        pause_.Begin(end.status());
        continue;
      }
      if (end->has_value()) return **std::move(end);
    }
  }

 private:
  // An error when waiting would not help.
  absl::Status SayWhoIsAway() {
    absl::Status trouble = !jobs_.trouble().ok() ? jobs_.trouble() : pods_.trouble();
    if (trouble.ok() && log_ != nullptr) trouble = log_->trouble();
    if (IsFinal(trouble)) return trouble;
    away_ = !trouble.ok();
    const auto now = Clock::now();
    if (!away_) {
      here_ = now;
      if (said_away_ && pause_.Over()) Wait(false, "");
    } else if (now - here_ > kAwayPatience) {
      Wait(true, std::string(trouble.message()));
    }
    return absl::OkStatus();
  }

  // Looks at what is there and does what is due. Nothing: go on.
  absl::StatusOr<std::optional<LaunchEnd>> Look() {
    if (!pause_.Over()) return std::nullopt;
    const Object* mine = nullptr;
    for (const auto& [uid, job] : jobs_.objects()) {
      if (job.name == name_) {
        mine = &job;
      } else if (mine_uid_.empty()) {
        return Remove(job);
      }
    }
    if (mine == nullptr) {
      if (!mine_uid_.empty()) return Vanished();
      if (order() == LaunchOrder::kStop)
        return LaunchEnd{.stopped = true, .description = "stopped before it began"};
      return Create();
    }
    if (mine_uid_.empty()) {
      auto ours = kubernetes::CheckOurs(*mine, wanted_, promised_);
      if (!ours.ok() && !launch_.promise.empty())
        ours = kubernetes::CheckOurs(*mine, wanted_, launch_.promise);
      if (!ours.ok()) return ours;
      mine_uid_ = mine->uid;
      seen_ = Clock::now();
    }
    if (mine->uid != mine_uid_) return Vanished();  // and somebody has made another under its name
    const JobState& state = std::get<JobState>(mine->state);
    FollowLog();
    if (order() == LaunchOrder::kStop && !mine->deleting && !state.complete && !state.failed) {
      if (auto deleted = Delete(*mine); !deleted.ok()) return deleted;
      return std::nullopt;
    }
    if (state.complete || state.failed) return Ended(state);
    SayWhyItWaits(*mine, state);
    return std::nullopt;
  }

  // Another launch's Job of this run is in the way until it and its pods are gone.
  absl::StatusOr<std::optional<LaunchEnd>> Remove(const Object& job) {
    Wait(false, "launch " + LaunchOf(job) + " of this run is being removed");
    if (!job.deleting) {
      if (auto deleted = Delete(job); !deleted.ok()) return deleted;
    }
    return std::nullopt;
  }

  static std::string LaunchOf(const Object& job) {
    const auto label = job.labels.find(kubernetes::kLaunchLabel);
    return label == job.labels.end() ? job.name : label->second;
  }

  absl::StatusOr<std::optional<LaunchEnd>> Create() {
    // Pods whose Job was removed without them.
    for (const auto& [uid, pod] : pods_.objects()) {
      if (std::get<PodState>(pod.state).end) continue;
      Wait(false, "pod " + pod.name + " of an earlier launch is still there");
      return std::nullopt;
    }
    // A promise of an earlier process, configured otherwise perhaps, came to nothing.
    promised_ = object_.digest;
    if (launch_.keep_promise) {
      if (auto kept = launch_.keep_promise(promised_); !kept.ok()) return kept;
    }
    const auto made = client_.Call("create jobs.batch in namespace " + options_.name_space, "POST",
                                   JobsPath(options_), {}, object_.body, [this] { return leaving(); });
    // Whatever was answered, the list says what is there: an answer that was lost, or somebody who was
    // faster.
    jobs_.Forget();
    if (made.ok() || absl::IsAlreadyExists(made.status())) return std::nullopt;
    return made.status();
  }

  absl::StatusOr<std::optional<LaunchEnd>> Vanished() {
    const auto now = Clock::now();
    if (ended_ == Clock::time_point()) ended_ = now;
    FollowLog();
    if (LogMayGoOn(now)) return std::nullopt;
    LaunchEnd end = EndByRanks();
    const std::string ranks = end.description.empty() ? "" : "; " + end.description;
    if (order() == LaunchOrder::kStop) {
      end.stopped = true;
      end.description = "stopped" + ranks;
    } else {
      end.description = "the Job " + name_ + " was removed by somebody" + ranks;
    }
    return end;
  }

  // Keeps how each rank's newest pod stands: pods go before their Job does.
  void OnPod(const Object& object) override {
    const auto launch = object.labels.find(kubernetes::kLaunchLabel);
    if (launch == object.labels.end() || launch->second != std::to_string(launch_.number)) return;
    const auto& pod = std::get<PodState>(object.state);
    if (pod.index < 0 || pod.index >= launch_.world) return;
    Rank& rank = ranks_[pod.index];
    // A pod that is on its way out does not take the place of the one that came for it.
    if (rank.pod_uid != object.uid && object.deleting && pods_.objects().count(rank.pod_uid) != 0) return;
    rank.pod_uid = object.uid;
    rank.pod_name = object.name;
    rank.state = pod;
    rank.was_told = object.deleting;
  }

  void FollowLog() {
    const auto rank = ranks_.find(0);
    if (rank == ranks_.end() || !rank->second.state.started) return;
    const auto gone = [this] { return pods_.objects().count(log_->pod_uid()) == 0; };
    if (log_ != nullptr && log_->pod_uid() != rank->second.pod_uid) {
      // Kueue has put the Job out and let it in again: another pod goes on. The first one's lines come first.
      log_->Advance(true, gone());
      if (!log_->complete()) return;
      log_.reset();
    }
    if (log_ == nullptr) {
      log_ = std::make_unique<LogFollower>(client_, PodsPath(options_) + "/" + rank->second.pod_name,
                                           rank->second.pod_uid, kubernetes::kContainer, launch_.position,
                                           [this](std::string_view text, const std::string& position,
                                                  bool replayed) { OnLine(text, position, replayed); });
    }
    log_->Advance(rank->second.state.end.has_value() || gone(), gone());
  }

  // Its end is waited for as long as lines come.
  bool LogMayGoOn(Clock::time_point now) const {
    return log_ != nullptr && !log_->complete() && now - std::max(ended_, last_line_) < kLogPatience;
  }

  // A pod's log has both of its outputs: what is no event is for people and goes where a child's standard
  // error goes.
  void OnLine(std::string_view text, const std::string& position, bool replayed) {
    last_line_ = Clock::now();
    if (!text.empty() && text.front() == '{') {
      launch_.on_line({text, position, replayed});
    } else if (!replayed && log_file_) {
      log_file_ << text << "\n" << std::flush;
    }
  }

  absl::StatusOr<std::optional<LaunchEnd>> Ended(const JobState& state) {
    const auto now = Clock::now();
    if (ended_ == Clock::time_point()) ended_ = now;
    // Pods may lag behind: a failure has a rank that failed, and rank 0 has a log.
    const bool told = state.complete || std::any_of(ranks_.begin(), ranks_.end(), [](const auto& rank) {
                        return rank.second.state.end.has_value() && !rank.second.state.end->well();
                      });
    const bool rank_0_ended = ranks_.count(0) != 0 && ranks_[0].state.end.has_value();
    if ((!told || (state.complete && !rank_0_ended)) && now - ended_ < kPodsPatience) return std::nullopt;
    if (LogMayGoOn(now)) return std::nullopt;
    LaunchEnd end = EndByRanks();
    end.well = state.complete;
    if (state.complete) end.description = "exit code 0";
    if (state.failed) {
      if (end.description.empty() || state.reason != "BackoffLimitExceeded") {
        end.description += (end.description.empty() ? "" : "; ") + ("the Job failed: " + state.reason) +
                           (state.message.empty() ? "" : ": " + state.message);
      }
      if (state.reason == "DeadlineExceeded") end.stopped = true;  // the operator's own limit for one launch
    }
    if (log_ != nullptr && !log_->complete()) {
      end.description +=
          "; the end of rank 0's log cannot be read: " + std::string(log_->trouble().message());
    }
    return end;
  }

  // From how the ranks ended: the first in rank order that ended ill by itself, or else that was told to end
  // because another had. Nothing is said when none is known to have ended ill.
  LaunchEnd EndByRanks() const {
    const auto ill = [](const Rank& rank) { return rank.state.end && !rank.state.end->well(); };
    LaunchEnd end;
    for (const bool told : {false, true}) {
      for (const auto& [index, rank] : ranks_) {
        if (!ill(rank) || rank.was_told != told || !end.description.empty()) continue;
        end.description =
            (index == 0 ? "" : "rank " + std::to_string(index) + ": ") + rank.state.end->Describe();
        if (index != 0 && !LastWords(*rank.state.end).empty())
          end.description += ": " + LastWords(*rank.state.end);
      }
    }
    end.stopped =
        !end.description.empty() && std::all_of(ranks_.begin(), ranks_.end(), [&](const auto& rank) {
          return !ill(rank.second) || rank.second.state.end->exit_code == kTrainerExitStopped;
        });
    return end;
  }

  void SayWhyItWaits(const Object& job, const JobState& state) {
    if (away_) return;  // and that is said
    const auto trouble = std::find_if(ranks_.begin(), ranks_.end(), [](const auto& rank) {
      return !rank.second.state.started && !rank.second.state.waiting.empty();
    });
    const size_t begun = static_cast<size_t>(std::count_if(
        ranks_.begin(), ranks_.end(), [](const auto& rank) { return rank.second.state.started; }));
    if (state.suspended) {
      Wait(false, WhyKueueHolds(job));
    } else if (trouble != ranks_.end()) {
      Wait(false, "rank " + std::to_string(trouble->first) + " of " + std::to_string(launch_.world) + ": " +
                      trouble->second.state.waiting);
    } else if (begun == static_cast<size_t>(launch_.world)) {
      Wait(false, "");
    } else if (Clock::now() - seen_ > kSilentWait) {
      Wait(false, std::to_string(begun) + " of " + std::to_string(launch_.world) + " ranks have begun");
    }
  }

  // Asks for Kueue's own words every few seconds.
  std::string WhyKueueHolds(const Object& job) {
    const std::string held =
        options_.pod.queue.empty() ? "the Job is suspended" : "held by Kueue in queue " + options_.pod.queue;
    if (options_.pod.queue.empty()) return held;
    if (kueue_asked_ == Clock::time_point() || Clock::now() - kueue_asked_ > kKueueEvery) {
      kueue_asked_ = Clock::now();
      kueue_says_ = AskKueue(job.uid);
    }
    return held + (kueue_says_.empty() ? "" : ": " + kueue_says_);
  }

  std::string AskKueue(const std::string& job_uid) {
    absl::Status last;
    for (const char* version : {"v1beta2", "v1beta1"}) {
      const auto body = client_.Call("list workloads.kueue.x-k8s.io", "GET",
                                     std::string("/apis/kueue.x-k8s.io/") + version + "/namespaces/" +
                                         options_.name_space + "/workloads",
                                     {{"labelSelector", "kueue.x-k8s.io/job-uid=" + job_uid}}, "",
                                     [this] { return leaving(); });
      last = body.status();
      if (absl::IsNotFound(last)) continue;  // another version of Kueue
      if (!body.ok()) break;
      auto says = kubernetes::ParseWorkloadWaits(*body);
      if (says.ok()) return *says;
      last = says.status();
      break;
    }
    return "why is not known (" + std::string(last.message()) + ")";
  }

  void Wait(bool cluster_away, const std::string& why) {
    if (why == said_) return;
    said_ = why;
    said_away_ = cluster_away;
    if (launch_.on_waiting) launch_.on_waiting(cluster_away, why);
  }

  struct Rank {
    std::string pod_uid, pod_name;
    PodState state;
    bool was_told = false;  // to end, before it did or did not
  };

  const TrainerLaunch& launch_;
  const std::string owner_;
  kubernetes::JobLaunch wanted_;
  kubernetes::JobObject object_;
  std::string name_, promised_, mine_uid_;
  std::map<int, Rank> ranks_;
  std::unique_ptr<LogFollower> log_;
  std::ofstream log_file_;
  Clock::time_point seen_, ended_, last_line_, kueue_asked_, here_ = Clock::now();
  bool away_ = false, said_away_ = false;
  std::string said_, kueue_says_;
};

// Removes every Job of a run.
class Cleaner final : public RunFollower {
 public:
  using RunFollower::RunFollower;

  absl::Status Clear(std::chrono::seconds patience) {
    const auto give_up = Clock::now() + patience;
    for (;;) {
      transfers_.Poll(kTurn);
      if (leaving()) return absl::CancelledError("stopped");
      jobs_.Advance();
      if (IsFinal(jobs_.trouble())) return jobs_.trouble();
      if (jobs_.synced() && jobs_.objects().empty()) return absl::OkStatus();
      if (Clock::now() > give_up) {
        return absl::UnavailableError(!jobs_.trouble().ok() ? std::string(jobs_.trouble().message())
                                                            : "Jobs of the run are still there");
      }
      if (!jobs_.synced() || !pause_.Over()) continue;
      for (const auto& [uid, job] : jobs_.objects()) {
        if (job.deleting) continue;
        const absl::Status deleted = Delete(job);
        if (IsFinal(deleted)) return deleted;
        if (!deleted.ok()) pause_.Begin(deleted);
        break;  // Delete has dropped the copy
      }
    }
  }
};

}  // namespace

KubernetesLauncher::KubernetesLauncher(KubernetesOptions options) : options_(std::move(options)) {}

absl::Status KubernetesLauncher::Check(const std::filesystem::path& runs_dir) {
  const kubernetes::PodTemplate& pod = options_.pod;
  const auto inside = runs_dir.lexically_normal().lexically_relative(
      std::filesystem::path(pod.claim_mount_path).lexically_normal());
  if (inside.empty() || *inside.begin() == "..") {
    return absl::InvalidArgumentError(
        "run folders are in " + runs_dir.string() +
        ", wanted a folder in training_launcher.kubernetes.run_volume.mount_path " + pod.claim_mount_path);
  }
  if (options_.own_pod.empty()) return absl::OkStatus();
  kubernetes::Transfers transfers;
  kubernetes::ApiClient client(options_.server, transfers);
  const auto body = client.Call("get pods " + options_.own_pod, "GET",
                                PodsPath(options_) + "/" + options_.own_pod, {}, "", nullptr);
  if (!body.ok()) {
    const absl::Status& status = body.status();
    if (IsFinal(status) || absl::IsNotFound(status)) {
      return absl::FailedPreconditionError("this process's own pod cannot be read: " +
                                           std::string(status.message()));
    }
    return absl::OkStatus();  // the API server is away: launches will wait for it
  }
  auto own = kubernetes::ParseOwnPod(*body);
  if (!own.ok()) return own.status();
  {
    std::lock_guard lock(mutex_);
    owner_ = own->controller_reference;
  }
  std::string seen;
  for (const auto& mount : own->mounts) {
    if (mount.claim == pod.claim && mount.mount_path == pod.claim_mount_path &&
        mount.sub_path == pod.claim_sub_path) {
      return absl::OkStatus();
    }
    seen += (seen.empty() ? "" : ", ") + ("claim " + mount.claim) + " at " + mount.mount_path +
            (mount.sub_path.empty() ? "" : " (its folder " + mount.sub_path + ")");
  }
  return absl::FailedPreconditionError(
      "run folders: this pod has " + (seen.empty() ? "no claim mounted" : seen) + "; wanted claim " +
      pod.claim + " at " + pod.claim_mount_path +
      (pod.claim_sub_path.empty() ? "" : " (its folder " + pod.claim_sub_path + ")") +
      ", where trainers have it too");
}

absl::StatusOr<LaunchEnd> KubernetesLauncher::Run(const TrainerLaunch& launch) {
  std::string owner;
  {
    std::lock_guard lock(mutex_);
    owner = owner_;
  }
  return Launch(options_, launch, std::move(owner)).Follow();
}

absl::Status KubernetesLauncher::Clear(const std::string& job_uid, const std::string& run,
                                       const std::function<LaunchOrder()>& order) {
  return Cleaner(options_, job_uid, run, order).Clear(options_.pod.grace + std::chrono::seconds(60));
}

}  // namespace retort::jobs
