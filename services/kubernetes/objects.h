// What a launcher reads of Jobs, Pods and Kueue's Workloads, and how a list or a line of a watch becomes
// that.
//
// The API server is another program, reached over a network: what it says is checked like any other input.
// Unknown members are ignored, since a newer server has more; a known member of another type is refused.
#ifndef SERVICES_KUBERNETES_OBJECTS_H_
#define SERVICES_KUBERNETES_OBJECTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::kubernetes {

// Longest line of a watch: one object, which etcd bounds at 1.5 MiB, with its envelope.
inline constexpr size_t kWatchLineBytesMax = 4 << 20;
// Objects that a list may have; a run has at most 256 pods, and a few that are being replaced.
inline constexpr size_t kListItemsMax = 4096;

// batch/v1 Job.
struct JobState {
  bool suspended = false;
  bool complete = false, failed = false;  // the conditions Complete and Failed, which are final
  std::string reason, message;            // of the condition Failed
};

// How a container ended.
struct ContainerEnd {
  int exit_code = 0;  // above 128: by the signal exit_code - 128
  std::string reason, message;

  bool well() const { return exit_code == 0; }
  // "exit code 1 (Error)", "signal 9 (OOMKilled)"
  std::string Describe() const;
};

// core/v1 Pod with one container.
struct PodState {
  int index = -1;  // the completion index; -1 when it has none
  std::string phase;
  bool started = false;             // the container runs or has run
  std::optional<ContainerEnd> end;  // the container has ended
  std::string waiting;  // why it does not run: "Unschedulable: 0/3 nodes …", "ImagePullBackOff: …"
};

struct Object {
  std::string name, uid, resource_version;
  bool deleting = false;
  std::map<std::string, std::string> labels, annotations;
  std::variant<JobState, PodState> state;
};

struct ObjectList {
  std::string resource_version;
  std::vector<Object> items;
};

// A line of a watch.
struct WatchEvent {
  enum class Type { kChanged, kDeleted, kBookmark };
  Type type = Type::kChanged;
  std::string resource_version;
  std::optional<Object> object;  // none for a bookmark
};

// The body of a list of jobs or pods. Unknown when it is anything else: too many items, a missing version, a
// member of another type. The message names the member and never repeats the body.
absl::StatusOr<ObjectList> ParseList(std::string_view body);

// One object, as create answers. Errors as ParseList.
absl::StatusOr<Object> ParseObject(std::string_view body);

// One line of a watch. For an ERROR event the status of api_error.h, so OutOfRange when the version is too
// old; Unknown when it is not a line of a watch of jobs or pods.
absl::StatusOr<WatchEvent> ParseWatchLine(std::string_view line);

// Splits a stream into lines. A line that is over the bound is dropped and remembered as such.
class LineSplitter {
 public:
  explicit LineSplitter(size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}

  // Adds bytes; complete lines, without their newline, are appended to `lines`. A longer line is cut at the
  // bound.
  void Add(std::string_view bytes, std::vector<std::string>& lines);

  // Takes what came after the last newline.
  std::string TakeRest();

  // True when a line was cut since the last call.
  bool TakeWasCut();

 private:
  const size_t line_bytes_max_;
  std::string line_;
  bool cut_ = false;
};

// What Kueue says about the Workload of a Job, from the body of a list of workloads: "QuotaReserved=False
// (Pending): …", "Evicted (Preempted): …". Empty when it says nothing. Unknown as ParseList.
absl::StatusOr<std::string> ParseWorkloadWaits(std::string_view body);

// Where a pod has a claim mounted, and who made the pod.
struct OwnPod {
  struct Mount {
    std::string claim, mount_path, sub_path;
  };
  std::vector<Mount> mounts;  // of all containers
  // The controller of the pod, as an ownerReference without flags; JSON. Empty when the pod has none.
  std::string controller_reference;
};

// The body of a pod. Unknown as ParseList.
absl::StatusOr<OwnPod> ParseOwnPod(std::string_view body);

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_OBJECTS_H_
