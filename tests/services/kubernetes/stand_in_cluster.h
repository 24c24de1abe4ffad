// A small cluster for tests: objects with versions and a history, a Job controller, and a kubelet that runs a
// pod's command as a process of this machine (its image is not looked at). What of it an API server serves is
// in stand_in_api.h.
//
// Enforced as a real one does: names are unique, every change has a new version, deletions have
// preconditions, a Job in the foreground of a deletion stays until its pods have gone, pods get SIGTERM and
// then their grace, versions that are compacted away cannot be watched from.
#ifndef TESTS_SERVICES_KUBERNETES_STAND_IN_CLUSTER_H_
#define TESTS_SERVICES_KUBERNETES_STAND_IN_CLUSTER_H_

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"

namespace retort::kubernetes {

class StandInCluster {
 public:
  using Json = nlohmann::json;

  struct Answer {
    int status = 200;
    Json body;
  };
  // A change of an object, as a watch tells it.
  struct Change {
    int64_t version = 0;
    std::string type, kind;
    Json object;
  };

  StandInCluster();
  ~StandInCluster();

  // What an API server asks of its store. `kind` is Job or Pod; a selector is "a=b,c=d".
  Answer Create(Json job);
  Answer Get(const std::string& kind, const std::string& name) const;
  Answer List(const std::string& kind, const std::string& selector) const;
  Answer Delete(const std::string& name, const Json& options);
  Answer Workloads() const;
  // Changes after `version` that match; waits up to `span` for one. Nothing: the version is compacted away.
  std::optional<std::vector<Change>> After(int64_t version, const std::string& kind,
                                           const std::string& selector, std::chrono::milliseconds span) const;
  int64_t version() const;
  // Lines of a pod's log from number `from` on; `ended` when no more can come. Nothing: there is no such pod,
  // or it has not begun.
  struct LogPiece {
    std::vector<std::string> lines;  // with their times
    bool ended = false;
  };
  // An `open` stream goes on to its end when its pod is removed meanwhile.
  std::optional<LogPiece> Log(const std::string& pod, size_t from, bool open = false) const;

  // What others in a cluster do.
  void Hold(const std::string& why);                   // the scheduler finds no node
  void Release();                                      // and now it does
  void SayOfWorkloads(const std::string& message);     // Kueue's condition QuotaReserved=False
  void Suspend(const std::string& job, bool suspend);  // Kueue lets a Job in, or puts it out
  void Compact();                                      // forgets every version but the newest
  void RemoveJob(const std::string& job);              // kubectl delete job, by somebody
  void Touch(const std::string& job);                  // a change that means nothing
  // With this the stand-in answers as if this pod were the launcher's own.
  void Put(const std::string& kind, Json object);

  // What tests look at.
  std::vector<std::string> Names(const std::string& kind) const;
  Json Find(const std::string& kind, const std::string& name) const;
  int created() const;            // Jobs, ever
  int alive_at_once_max() const;  // processes of rank 0, of all Jobs together

 private:
  struct Process;

  static bool Matches(const Json& object, const std::string& selector);
  void Commit(const std::string& type, const std::string& kind, Json& object);
  void Remove(const std::string& kind, const std::string& name);
  void Control();
  void Reconcile(const std::string& name);
  void MakePod(const Json& job, int index);
  void RunPod(std::shared_ptr<Process> process);
  void Terminate(const std::string& pod);
  Json* FindMine(const std::string& kind, const std::string& name);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string, std::map<std::string, Json>> objects_;  // by kind and name
  std::vector<Change> history_;
  int64_t version_ = 100, compacted_ = 0;
  int uids_ = 0, created_ = 0, alive_ = 0, alive_max_ = 0;
  std::string held_, workload_message_;
  std::map<std::string, std::shared_ptr<Process>> processes_;  // by pod
  bool ending_ = false;
  std::thread controller_;
};

}  // namespace retort::kubernetes

#endif  // TESTS_SERVICES_KUBERNETES_STAND_IN_CLUSTER_H_
