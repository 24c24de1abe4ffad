// Trainers as one Indexed Job of Kubernetes for each launch, made and followed through the API server.
//
// The Job's name is made of the job's uid, the run and the number of the launch, so the API server itself
// sees to it that a launch is begun once, however often this process or that server dies meanwhile. What is
// found under the name is taken over only when its labels and the digest of its specification are those that
// were promised; any other is refused. Jobs of earlier launches of the run are removed, and waited for,
// before a new one is made: two trainers never work in one run folder.
//
// Everything else is followed: the Job and its pods by watches, the log of rank 0 line by line into the job's
// progress, why it waits (the scheduler's words, Kueue's, the image that cannot be pulled) into the job's
// state. While the API server is away the launch waits; the trainers do not notice.
//
// Launches outlive this process: kLeave leaves them, and the next process finds them. kStop deletes the Job
// in the foreground, so its pods get SIGTERM and their grace, and this waits until they are gone.
#ifndef SERVICES_JOBS_KUBERNETES_LAUNCHER_H_
#define SERVICES_JOBS_KUBERNETES_LAUNCHER_H_

#include <mutex>
#include <string>

#include "services/jobs/trainer_launcher.h"
#include "services/kubernetes/api_client.h"
#include "services/kubernetes/training_job.h"

namespace retort::jobs {

struct KubernetesOptions {
  kubernetes::ApiServer server;
  std::string name_space;
  kubernetes::PodTemplate pod;
  std::string own_pod;  // name of the pod that this process is; empty when it is none of the cluster's
};

// Thread-safe: each call has connections of its own.
class KubernetesLauncher final : public TrainerLauncher {
 public:
  explicit KubernetesLauncher(KubernetesOptions options);

  // Reads this process's own pod, when it is one: its claim must be mounted where the options say. Else looks
  // at the path alone.
  absl::Status Check(const std::filesystem::path& runs_dir) override;
  bool uses_this_machine() const override { return false; }

  // Errors: PermissionDenied (a verb that the Role lacks, or admission refused), InvalidArgument (the object
  // is refused, or the launch does not fit the options), AlreadyExists (a Job is there under the name that is
  // not ours).
  absl::StatusOr<LaunchEnd> Run(const TrainerLaunch& launch) override;
  absl::Status Clear(const std::string& job_uid, const std::string& run,
                     const std::function<LaunchOrder()>& order) override;

 private:
  const KubernetesOptions options_;
  std::mutex mutex_;
  std::string owner_;  // ownerReference of new Jobs; guarded by mutex_
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_KUBERNETES_LAUNCHER_H_
