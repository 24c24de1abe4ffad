#include "tests/services/kubernetes/stand_in_cluster.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <sstream>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace retort::kubernetes {
namespace {

using Json = StandInCluster::Json;

constexpr std::chrono::milliseconds kControlEvery(5);

StandInCluster::Answer Refuse(int status, const std::string& reason, const std::string& message) {
  return {status,
          {{"kind", "Status"},
           {"apiVersion", "v1"},
           {"status", "Failure"},
           {"reason", reason},
           {"message", message},
           {"code", status}}};
}

// Coarse, so that many lines share a time.
std::string LogTime() {
  const int64_t centiseconds = absl::ToUnixMillis(absl::Now()) / 10;
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", absl::FromUnixMillis(centiseconds * 10),
                          absl::UTCTimeZone());
}

std::string Now() {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
}

void SetCondition(Json& object, const char* type, const char* status, const std::string& reason,
                  const std::string& message) {
  Json& conditions = object["status"]["conditions"];
  for (Json& condition : conditions) {
    if (condition["type"] == type) {
      condition = {{"type", type}, {"status", status}, {"reason", reason}, {"message", message}};
      return;
    }
  }
  conditions.push_back({{"type", type}, {"status", status}, {"reason", reason}, {"message", message}});
}

bool HasCondition(const Json& object, const std::string& type) {
  for (const Json& condition : object.value("/status/conditions"_json_pointer, Json::array())) {
    if (condition["type"] == type && condition["status"] == "True") return true;
  }
  return false;
}

bool IsDeleting(const Json& object) {
  return object["metadata"].contains("deletionTimestamp");
}

}  // namespace

// The one container of a pod. Guarded by the cluster's mutex, but for what the thread alone uses.
struct StandInCluster::Process {
  std::string pod;
  Json spec;  // of the pod
  int index = 0;
  pid_t pid = 0;
  bool started = false, ended = false, asked_to_end = false;
  std::chrono::steady_clock::time_point kill_at = std::chrono::steady_clock::time_point::max();
  std::vector<std::string> log;
  std::thread thread;
};

StandInCluster::StandInCluster() : controller_([this] { Control(); }) {}

StandInCluster::~StandInCluster() {
  std::vector<std::shared_ptr<Process>> processes;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    for (auto& [pod, process] : processes_) {
      if (process->pid > 0 && !process->ended) kill(process->pid, SIGKILL);
      processes.push_back(process);
    }
  }
  changed_.notify_all();
  controller_.join();
  for (auto& process : processes) process->thread.join();
}

bool StandInCluster::Matches(const Json& object, const std::string& selector) {
  std::stringstream terms(selector);
  for (std::string term; std::getline(terms, term, ',');) {
    const size_t equal = term.find('=');
    const Json labels = object["metadata"].value("labels", Json::object());
    if (labels.value(term.substr(0, equal), "") != term.substr(equal + 1)) return false;
  }
  return true;
}

void StandInCluster::Commit(const std::string& type, const std::string& kind, Json& object) {
  object["metadata"]["resourceVersion"] = std::to_string(++version_);
  history_.push_back({version_, type, kind, object});
  changed_.notify_all();
}

void StandInCluster::Remove(const std::string& kind, const std::string& name) {
  const auto found = objects_[kind].find(name);
  if (found == objects_[kind].end()) return;
  Commit("DELETED", kind, found->second);
  objects_[kind].erase(found);
}

StandInCluster::Json* StandInCluster::FindMine(const std::string& kind, const std::string& name) {
  const auto found = objects_[kind].find(name);
  return found == objects_[kind].end() ? nullptr : &found->second;
}

StandInCluster::Answer StandInCluster::Create(Json job) {
  const std::string name = job.value("/metadata/name"_json_pointer, "");
  if (job.value("kind", "") != "Job" || name.empty() || name.size() > 63 ||
      !job.value("/spec/template/spec/containers/0/image"_json_pointer, Json()).is_string()) {
    return Refuse(422, "Invalid", "Job.batch \"" + name + "\" is invalid");
  }
  std::lock_guard lock(mutex_);
  if (FindMine("Job", name) != nullptr) {
    return Refuse(409, "AlreadyExists", "jobs.batch \"" + name + "\" already exists");
  }
  ++created_;
  job["metadata"]["uid"] = "uid-" + std::to_string(++uids_);
  job["metadata"]["creationTimestamp"] = Now();
  Json& stored = objects_["Job"][name] = std::move(job);
  Commit("ADDED", "Job", stored);
  return {201, stored};
}

StandInCluster::Answer StandInCluster::Get(const std::string& kind, const std::string& name) const {
  std::lock_guard lock(mutex_);
  const auto objects = objects_.find(kind);
  if (objects == objects_.end() || objects->second.count(name) == 0) {
    return Refuse(404, "NotFound", kind + " \"" + name + "\" not found");
  }
  return {200, objects->second.at(name)};
}

StandInCluster::Answer StandInCluster::List(const std::string& kind, const std::string& selector) const {
  std::lock_guard lock(mutex_);
  Json items = Json::array();
  if (const auto objects = objects_.find(kind); objects != objects_.end()) {
    for (const auto& [name, object] : objects->second) {
      if (!Matches(object, selector)) continue;
      items.push_back(object);
      items.back().erase("kind");  // as in real lists
      items.back().erase("apiVersion");
    }
  }
  return {200,
          {{"kind", kind + "List"},
           {"metadata", {{"resourceVersion", std::to_string(version_)}}},
           {"items", items}}};
}

StandInCluster::Answer StandInCluster::Delete(const std::string& name, const Json& options) {
  std::lock_guard lock(mutex_);
  Json* job = FindMine("Job", name);
  if (job == nullptr) return Refuse(404, "NotFound", "jobs.batch \"" + name + "\" not found");
  const Json wanted = options.value("preconditions", Json::object());
  for (const char* member : {"uid", "resourceVersion"}) {
    if (wanted.contains(member) && wanted[member] != (*job)["metadata"][member]) {
      return Refuse(409, "Conflict",
                    std::string("the ") + member + " in the precondition is not that of the object");
    }
  }
  if (options.value("propagationPolicy", "") != "Foreground") {
    return Refuse(422, "Invalid", "the tests delete Jobs in the foreground alone");
  }
  if (!IsDeleting(*job)) {
    (*job)["metadata"]["deletionTimestamp"] = Now();
    Commit("MODIFIED", "Job", *job);
  }
  return {200, *job};
}

StandInCluster::Answer StandInCluster::Workloads() const {
  std::lock_guard lock(mutex_);
  Json items = Json::array();
  if (!workload_message_.empty()) {
    items.push_back({{"status",
                      {{"conditions", Json::array({{{"type", "QuotaReserved"},
                                                    {"status", "False"},
                                                    {"reason", "Pending"},
                                                    {"message", workload_message_}}})}}}});
  }
  return {200, {{"kind", "WorkloadList"}, {"metadata", {{"resourceVersion", "1"}}}, {"items", items}}};
}

std::optional<std::vector<StandInCluster::Change>> StandInCluster::After(
    int64_t version, const std::string& kind, const std::string& selector,
    std::chrono::milliseconds span) const {
  std::unique_lock lock(mutex_);
  if (version < compacted_) return std::nullopt;
  std::vector<Change> found;
  const auto look = [&] {
    for (const Change& change : history_) {
      if (change.version > version && change.kind == kind && Matches(change.object, selector))
        found.push_back(change);
    }
    return !found.empty() || ending_;
  };
  changed_.wait_for(lock, span, look);
  return found;
}

int64_t StandInCluster::version() const {
  std::lock_guard lock(mutex_);
  return version_;
}

std::optional<StandInCluster::LogPiece> StandInCluster::Log(const std::string& pod, size_t from,
                                                            bool open) const {
  std::lock_guard lock(mutex_);
  const auto pods = objects_.find("Pod");
  const auto process = processes_.find(pod);
  const bool there = pods != objects_.end() && pods->second.count(pod) != 0;
  if (!(there || open) || process == processes_.end() || !process->second->started) return std::nullopt;
  LogPiece piece;
  for (size_t i = from; i < process->second->log.size(); ++i) piece.lines.push_back(process->second->log[i]);
  piece.ended = process->second->ended;
  return piece;
}

void StandInCluster::Hold(const std::string& why) {
  std::lock_guard lock(mutex_);
  held_ = why;
}

void StandInCluster::Release() {
  std::lock_guard lock(mutex_);
  held_.clear();
  changed_.notify_all();
}

void StandInCluster::SayOfWorkloads(const std::string& message) {
  std::lock_guard lock(mutex_);
  workload_message_ = message;
}

void StandInCluster::Suspend(const std::string& job, bool suspend) {
  std::lock_guard lock(mutex_);
  Json* found = FindMine("Job", job);
  assert(found != nullptr);
  (*found)["spec"]["suspend"] = suspend;
  Commit("MODIFIED", "Job", *found);
}

void StandInCluster::Compact() {
  std::lock_guard lock(mutex_);
  compacted_ = ++version_;
  history_.clear();
}

void StandInCluster::RemoveJob(const std::string& job) {
  std::lock_guard lock(mutex_);
  if (Json* found = FindMine("Job", job); found != nullptr) {
    (*found)["metadata"]["deletionTimestamp"] = Now();
    Commit("MODIFIED", "Job", *found);
  }
}

void StandInCluster::Touch(const std::string& job) {
  std::lock_guard lock(mutex_);
  if (Json* found = FindMine("Job", job); found != nullptr) Commit("MODIFIED", "Job", *found);
}

void StandInCluster::Put(const std::string& kind, Json object) {
  std::lock_guard lock(mutex_);
  object["kind"] = kind;
  object["metadata"]["uid"] = "uid-" + std::to_string(++uids_);
  const std::string name = object["metadata"]["name"];
  Json& stored = objects_[kind][name] = std::move(object);
  Commit("ADDED", kind, stored);
}

std::vector<std::string> StandInCluster::Names(const std::string& kind) const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  if (const auto objects = objects_.find(kind); objects != objects_.end()) {
    for (const auto& [name, object] : objects->second) names.push_back(name);
  }
  return names;
}

StandInCluster::Json StandInCluster::Find(const std::string& kind, const std::string& name) const {
  return Get(kind, name).body;
}

int StandInCluster::created() const {
  std::lock_guard lock(mutex_);
  return created_;
}

int StandInCluster::alive_at_once_max() const {
  std::lock_guard lock(mutex_);
  return alive_max_;
}

void StandInCluster::Control() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    std::vector<std::string> names;
    for (const auto& [name, job] : objects_["Job"]) names.push_back(name);
    for (const std::string& name : names) Reconcile(name);
    for (auto& [pod, process] : processes_) {
      if (process->pid > 0 && !process->ended && std::chrono::steady_clock::now() > process->kill_at) {
        kill(process->pid, SIGKILL);
      }
    }
    changed_.wait_for(lock, kControlEvery);
  }
}

void StandInCluster::Reconcile(const std::string& name) {
  Json& job = objects_["Job"][name];
  std::vector<std::string> live, ended;
  std::map<int, std::string> by_index;
  bool failed = false;
  int succeeded = 0;
  for (const auto& [pod_name, pod] : objects_["Pod"]) {
    if (pod["metadata"].value("ownerUid", "") != job["metadata"]["uid"]) continue;
    const Process& process = *processes_[pod_name];
    by_index[process.index] = pod_name;
    (process.ended ? ended : live).push_back(pod_name);
    const std::string phase = pod["status"].value("phase", "");
    failed = failed || phase == "Failed";
    succeeded += phase == "Succeeded";
  }
  const bool over = HasCondition(job, "Complete") || HasCondition(job, "Failed");
  if (IsDeleting(job) || (job["spec"].value("suspend", false) && !over)) {
    for (const std::string& pod : live) Terminate(pod);
    for (const std::string& pod : ended) Remove("Pod", pod);
    if (IsDeleting(job) && live.empty()) Remove("Job", name);
    return;
  }
  if (over) return;
  const int wanted = job["spec"]["completions"];
  if (failed) {
    for (const std::string& pod : live) Terminate(pod);
    if (!live.empty()) return;
    for (const std::string& pod : ended) {
      if (processes_[pod]->asked_to_end) Remove("Pod", pod);
    }
    SetCondition(job, "Failed", "True", "BackoffLimitExceeded",
                 "Job has reached the specified backoff limit");
    Commit("MODIFIED", "Job", job);
    return;
  }
  if (succeeded == wanted) {
    SetCondition(job, "Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods");
    Commit("MODIFIED", "Job", job);
    return;
  }
  for (int index = 0; index < wanted; ++index) {
    if (by_index.count(index) == 0) MakePod(job, index);
  }
}

void StandInCluster::MakePod(const Json& job, int index) {
  const Json& pod_template = job["spec"]["template"];
  const std::string name = job["metadata"]["name"].get<std::string>() + "-" + std::to_string(index) + "-" +
                           std::to_string(++uids_);
  Json pod = {{"kind", "Pod"},
              {"apiVersion", "v1"},
              {"metadata", pod_template["metadata"]},
              {"spec", pod_template["spec"]}};
  pod["metadata"]["name"] = name;
  pod["metadata"]["uid"] = "uid-" + std::to_string(++uids_);
  pod["metadata"]["ownerUid"] = job["metadata"]["uid"];
  pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = std::to_string(index);
  pod["status"] = {{"phase", "Pending"}};
  if (!held_.empty()) SetCondition(pod, "PodScheduled", "False", "Unschedulable", held_);
  auto process = std::make_shared<Process>();
  process->pod = name;
  process->spec = pod["spec"];
  process->index = index;
  processes_[name] = process;
  Json& stored = objects_["Pod"][name] = std::move(pod);
  Commit("ADDED", "Pod", stored);
  process->thread = std::thread([this, process] { RunPod(process); });
}

void StandInCluster::Terminate(const std::string& pod) {
  Process& process = *processes_[pod];
  if (std::exchange(process.asked_to_end, true)) return;
  Json& object = objects_["Pod"][pod];
  object["metadata"]["deletionTimestamp"] = Now();
  Commit("MODIFIED", "Pod", object);
  process.kill_at = std::chrono::steady_clock::now() +
                    std::chrono::seconds(process.spec.value("terminationGracePeriodSeconds", 30));
  if (process.pid > 0) kill(process.pid, SIGTERM);
}

void StandInCluster::RunPod(std::shared_ptr<Process> process) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return held_.empty() || process->asked_to_end || ending_; });
  if (process->asked_to_end || ending_) {
    process->ended = true;
    return;
  }
  const Json& container = process->spec["containers"][0];
  std::vector<std::string> words = container["command"].get<std::vector<std::string>>();
  for (const Json& argument : container.value("args", Json::array())) words.push_back(argument);
  std::vector<std::string> variables = {"JOB_COMPLETION_INDEX=" + std::to_string(process->index),
                                        "PATH=/usr/bin:/bin"};
  for (const Json& variable : container.value("env", Json::array())) {
    variables.push_back(variable["name"].get<std::string>() + "=" + variable["value"].get<std::string>());
  }
  std::vector<char*> arguments, environment;
  for (std::string& word : words) arguments.push_back(word.data());
  for (std::string& variable : variables) environment.push_back(variable.data());
  arguments.push_back(nullptr);
  environment.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) abort();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  const int failed =
      posix_spawn(&process->pid, arguments[0], &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed != 0) process->pid = 0;
  process->started = true;
  if (process->index == 0) alive_max_ = std::max(alive_max_, ++alive_);
  {
    Json& pod = objects_["Pod"][process->pod];
    pod["status"] = {
        {"phase", "Running"},
        {"containerStatuses",
         Json::array({{{"name", "trainer"}, {"state", {{"running", {{"startedAt", Now()}}}}}}})}};
    Commit("MODIFIED", "Pod", pod);
  }
  std::string rest;
  char buffer[4096];
  for (;;) {
    lock.unlock();
    const ssize_t count = read(ends[0], buffer, sizeof buffer);
    lock.lock();
    if (count <= 0) break;
    rest.append(buffer, static_cast<size_t>(count));
    for (size_t end; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
      process->log.push_back(LogTime() + " " + rest.substr(0, end) + "\n");
    }
    changed_.notify_all();
  }
  close(ends[0]);
  if (!rest.empty()) process->log.push_back(LogTime() + " " + rest);
  int status = 127 << 8;
  const pid_t pid = process->pid;
  lock.unlock();
  if (pid > 0) waitpid(pid, &status, 0);
  lock.lock();
  process->pid = 0;
  process->ended = true;
  if (process->index == 0) --alive_;
  const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (Json* pod = FindMine("Pod", process->pod); pod != nullptr) {
    std::string last;
    for (const std::string& line : process->log) last += line.substr(line.find(' ') + 1);
    (*pod)["status"] = {{"phase", code == 0 ? "Succeeded" : "Failed"},
                        {"containerStatuses", Json::array({{{"name", "trainer"},
                                                            {"state",
                                                             {{"terminated",
                                                               {{"exitCode", code},
                                                                {"reason", code == 0 ? "Completed" : "Error"},
                                                                {"message", code == 0 ? "" : last}}}}}}})}};
    Commit("MODIFIED", "Pod", *pod);
  }
}

}  // namespace retort::kubernetes
