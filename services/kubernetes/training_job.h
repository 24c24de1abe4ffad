// The Job object of one launch of a training run: an Indexed Job whose completions are the ranks.
//
// Pure: the same template and launch give the same bytes, and so the same digest, which the object carries as
// an annotation. docs/operations.md shows an object that is made.
#ifndef SERVICES_KUBERNETES_TRAINING_JOB_H_
#define SERVICES_KUBERNETES_TRAINING_JOB_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/kubernetes/objects.h"

namespace retort::kubernetes {

inline constexpr char kJobUidLabel[] = "retort.dev/job-uid";
inline constexpr char kRunLabel[] = "retort.dev/run";
inline constexpr char kLaunchLabel[] = "retort.dev/launch";
inline constexpr char kManagedByLabel[] = "app.kubernetes.io/managed-by";
inline constexpr char kManagedBy[] = "retort-jobs";
inline constexpr char kDigestAnnotation[] = "retort.dev/spec-sha256";
inline constexpr char kQueueLabel[] = "kueue.x-k8s.io/queue-name";
inline constexpr char kContainer[] = "trainer";
// Launches of one run; the number is part of names that DNS bounds.
inline constexpr int kLaunchNumberMax = 9999;

// What the operator has configured; server/v1/training_launcher.proto says what the members mean.
struct PodTemplate {
  struct Mount {
    enum class Source { kSecret, kConfigMap, kClaim };
    Source source = Source::kSecret;
    std::string name, mount_path;
  };
  struct Toleration {
    std::string key, comparison, value, effect;
  };
  std::string image, program = "retort-train", service_account, priority_class, runtime_class, queue;
  std::string device_resource, shared_memory;
  std::string claim, claim_mount_path, claim_sub_path;
  std::map<std::string, std::string> requests, limits, node_selector, environment;
  std::vector<Mount> mounts;
  std::vector<Toleration> tolerations;
  std::vector<std::string> image_pull_secrets;
  int64_t run_as_user = 0, run_as_group = 0;
  std::chrono::seconds grace{60}, active_deadline{0}, keep_finished{86'400};
};

struct JobLaunch {
  std::string job;      // projects/P/jobs/J
  std::string job_uid;  // a UUID
  std::string run;      // logits or text_only
  int number = 1;       // from 1 to kLaunchNumberMax
  int world = 1;
  std::vector<std::string> arguments;
  std::filesystem::path folder;  // absolute, in claim_mount_path
};

// retort-<uid>-<run>-<number>; with the index of a pod it is at most 63 bytes.
std::string JobName(const JobLaunch& launch);

// Selects every Job and pod of the run, of whatever launch.
std::string SelectorOf(const std::string& job_uid, const std::string& run);

struct JobObject {
  std::string body;    // JSON, as it is posted
  std::string digest;  // lower-case hex SHA-256 of the body without this annotation and without the owner
};

// `owner` is an ownerReference in JSON, or empty. InvalidArgument: the folder is not in the volume, the
// number is out of range, several ranks without a device_resource (pods share no memory).
absl::StatusOr<JobObject> BuildJob(const PodTemplate& pod, const JobLaunch& launch, const std::string& owner);

// Whether a Job that is already there under the name is the one that was to be made. AlreadyExists names the
// label or annotation, what it is and what is wanted. `digest` is of the object that was made, or promised,
// earlier.
absl::Status CheckOurs(const Object& job, const JobLaunch& launch, const std::string& digest);

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_TRAINING_JOB_H_
