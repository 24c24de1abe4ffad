// Keeps a copy of the jobs or pods of one selector, as the API server has them: lists, then watches from the
// version of the list with bookmarks, goes on from the newest version when a watch drops (a line cut in the
// middle counts as not received), and lists again when the server has forgotten that version (410).
//
//   ObjectWatcher jobs(client, ObjectWatcher::Kind::kJobs, "/apis/batch/v1/namespaces/n/jobs", "app=x");
//   for (;;) { client.transfers().Poll(100ms); jobs.Advance(); if (jobs.synced()) ... jobs.objects() ... }
//
// After every failure it waits, twice as long each time up to 10 s, or as long as the server asks for.
//
// Belongs to the thread of the client.
#ifndef SERVICES_KUBERNETES_OBJECT_WATCHER_H_
#define SERVICES_KUBERNETES_OBJECT_WATCHER_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/kubernetes/api_client.h"
#include "services/kubernetes/objects.h"
#include "services/kubernetes/pause.h"

namespace retort::kubernetes {

class ObjectWatcher {
 public:
  enum class Kind { kJobs, kPods };

  // `client` outlives the watcher. `on_change`, when there is one, is told of every object that comes or
  // changes, and of the last state of one that goes.
  ObjectWatcher(ApiClient& client, Kind kind, std::string path, std::string label_selector,
                std::function<void(const Object&)> on_change = nullptr);

  // Takes in what has arrived and begins what is due. To be called after each Poll.
  void Advance();

  // True once a list has been read, and until the copy may be older than what a call has just done (Forget).
  bool synced() const { return synced_; }

  // Drops the copy and lists again: after a call that has changed something.
  void Forget();

  // By uid; all of the watcher's kind.
  const std::map<std::string, Object>& objects() const { return objects_; }

  // OK while there is a connection, or its first answer is awaited; else why there is none. PermissionDenied,
  // Unauthenticated and InvalidArgument will not pass by themselves.
  const absl::Status& trouble() const { return trouble_; }

 private:
  void BeginList();
  void BeginWatch();
  void EndList();
  void TakeLines();
  void EndWatch();
  void Trouble(const absl::Status& status);
  void Set(Object object);
  bool IsMine(const Object& object) const;

  ApiClient& client_;
  const Kind kind_;
  const std::string path_, selector_;
  const std::function<void(const Object&)> on_change_;
  std::unique_ptr<Transfers::Transfer> transfer_;
  bool watching_ = false, synced_ = false;
  std::string version_;  // where the next watch begins; empty: list first
  LineSplitter splitter_{kWatchLineBytesMax};
  std::vector<std::string> lines_;
  std::map<std::string, Object> objects_;
  absl::Status trouble_;
  Pause pause_;
};

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_OBJECT_WATCHER_H_
