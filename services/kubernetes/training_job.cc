#include "services/kubernetes/training_job.h"

#include <algorithm>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "nlohmann/json.hpp"
#include "services/kubernetes/api_error.h"

namespace retort::kubernetes {
namespace {

using Json = nlohmann::json;  // its objects are sorted by name, so the bytes are canonical

std::string LabelOf(std::string run) {
  std::replace(run.begin(), run.end(), '_', '-');
  return run;
}

Json LabelsOf(const JobLaunch& launch) {
  return {{"app.kubernetes.io/name", "retort"},
          {"app.kubernetes.io/component", "trainer"},
          {"app.kubernetes.io/part-of", "retort"},
          {kManagedByLabel, kManagedBy},
          {kJobUidLabel, launch.job_uid},
          {kRunLabel, LabelOf(launch.run)},
          {kLaunchLabel, std::to_string(launch.number)}};
}

// The folder of the run alone is mounted, so that a trainer sees no other run. Empty when it is not in the
// volume.
std::string SubPath(const PodTemplate& pod, const std::filesystem::path& folder) {
  const std::filesystem::path inside = folder.lexically_normal().lexically_relative(
      std::filesystem::path(pod.claim_mount_path).lexically_normal());
  if (inside.empty() || *inside.begin() == "..") return "";
  return (std::filesystem::path(pod.claim_sub_path) / inside).lexically_normal().string();
}

Json Resources(const PodTemplate& pod) {
  Json resources = Json::object();
  if (!pod.requests.empty()) resources["requests"] = pod.requests;
  if (!pod.limits.empty()) resources["limits"] = pod.limits;
  if (!pod.device_resource.empty()) resources["limits"][pod.device_resource] = "1";
  return resources;
}

Json Container(const PodTemplate& pod, const JobLaunch& launch, const std::string& sub_path) {
  Json environment = Json::array({{{"name", "RETORT_WORLD_SIZE"}, {"value", std::to_string(launch.world)}}});
  for (const auto& [name, value] : pod.environment) environment.push_back({{"name", name}, {"value", value}});
  Json mounts = Json::array({{{"name", "run"}, {"mountPath", launch.folder.string()}, {"subPath", sub_path}},
                             {{"name", "tmp"}, {"mountPath", "/tmp"}}});
  for (size_t i = 0; i < pod.mounts.size(); ++i) {
    mounts.push_back({{"name", "mount-" + std::to_string(i)},
                      {"mountPath", pod.mounts[i].mount_path},
                      {"readOnly", true}});
  }
  if (!pod.shared_memory.empty()) mounts.push_back({{"name", "shm"}, {"mountPath", "/dev/shm"}});
  return {{"name", kContainer},
          {"image", pod.image},
          {"command", Json::array({pod.program})},
          {"args", launch.arguments},
          {"env", environment},
          {"resources", Resources(pod)},
          {"securityContext",
           {{"allowPrivilegeEscalation", false},
            {"readOnlyRootFilesystem", true},
            {"capabilities", {{"drop", Json::array({"ALL"})}}}}},
          // The last lines of a rank that failed come with its state, and so without its log.
          {"terminationMessagePolicy", "FallbackToLogsOnError"},
          {"volumeMounts", mounts}};
}

Json Volumes(const PodTemplate& pod) {
  Json volumes = Json::array({{{"name", "run"}, {"persistentVolumeClaim", {{"claimName", pod.claim}}}},
                              {{"name", "tmp"}, {"emptyDir", Json::object()}}});
  for (size_t i = 0; i < pod.mounts.size(); ++i) {
    const PodTemplate::Mount& mount = pod.mounts[i];
    Json volume = {{"name", "mount-" + std::to_string(i)}};
    switch (mount.source) {
      case PodTemplate::Mount::Source::kSecret:
        // Readable by the group alone: fsGroup is the only thing that an ordinary user has in common with it.
        volume["secret"] = {{"secretName", mount.name}, {"defaultMode", 0440}};
        break;
      case PodTemplate::Mount::Source::kConfigMap:
        volume["configMap"] = {{"name", mount.name}};
        break;
      case PodTemplate::Mount::Source::kClaim:
        volume["persistentVolumeClaim"] = {{"claimName", mount.name}, {"readOnly", true}};
        break;
    }
    volumes.push_back(volume);
  }
  if (!pod.shared_memory.empty()) {
    volumes.push_back(
        {{"name", "shm"}, {"emptyDir", {{"medium", "Memory"}, {"sizeLimit", pod.shared_memory}}}});
  }
  return volumes;
}

Json PodSpec(const PodTemplate& pod, const JobLaunch& launch, const std::string& sub_path) {
  Json spec = {{"restartPolicy", "Never"},
               {"automountServiceAccountToken", false},
               {"enableServiceLinks", false},
               {"terminationGracePeriodSeconds", pod.grace.count()},
               {"securityContext",
                {{"runAsNonRoot", true},
                 {"runAsUser", pod.run_as_user},
                 {"runAsGroup", pod.run_as_group},
                 {"fsGroup", pod.run_as_group},
                 {"fsGroupChangePolicy", "OnRootMismatch"},
                 {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
               {"containers", Json::array({Container(pod, launch, sub_path)})},
               {"volumes", Volumes(pod)}};
  if (!pod.service_account.empty()) spec["serviceAccountName"] = pod.service_account;
  if (!pod.priority_class.empty()) spec["priorityClassName"] = pod.priority_class;
  if (!pod.runtime_class.empty()) spec["runtimeClassName"] = pod.runtime_class;
  if (!pod.node_selector.empty()) spec["nodeSelector"] = pod.node_selector;
  for (const std::string& secret : pod.image_pull_secrets)
    spec["imagePullSecrets"].push_back({{"name", secret}});
  for (const PodTemplate::Toleration& toleration : pod.tolerations) {
    Json item = Json::object();
    if (!toleration.key.empty()) item["key"] = toleration.key;
    if (!toleration.comparison.empty()) item["operator"] = toleration.comparison;
    if (!toleration.value.empty()) item["value"] = toleration.value;
    if (!toleration.effect.empty()) item["effect"] = toleration.effect;
    spec["tolerations"].push_back(item);
  }
  return spec;
}

absl::Status Differs(const Object& job, const std::string& what, const std::string& seen,
                     const std::string& wanted) {
  return absl::AlreadyExistsError("a Job " + job.name + " is there that this server did not make: " + what +
                                  " is '" + Readable(seen, 80) + "', wanted '" + wanted +
                                  "'; remove it, or find out who made it");
}

}  // namespace

std::string JobName(const JobLaunch& launch) {
  return "retort-" + launch.job_uid + "-" + LabelOf(launch.run) + "-" + std::to_string(launch.number);
}

std::string SelectorOf(const std::string& job_uid, const std::string& run) {
  return std::string(kManagedByLabel) + "=" + kManagedBy + "," + kJobUidLabel + "=" + job_uid + "," +
         kRunLabel + "=" + LabelOf(run);
}

absl::StatusOr<JobObject> BuildJob(const PodTemplate& pod, const JobLaunch& launch,
                                   const std::string& owner) {
  if (launch.number < 1 || launch.number > kLaunchNumberMax) {
    return absl::InvalidArgumentError("launch " + std::to_string(launch.number) + " of run " + launch.run +
                                      ", wanted 1 to " + std::to_string(kLaunchNumberMax));
  }
  if (launch.world > 1 && pod.device_resource.empty()) {
    return absl::InvalidArgumentError("a run of " + std::to_string(launch.world) +
                                      " ranks: saw pods without devices, which share no memory; wanted "
                                      "training_launcher.kubernetes.device_resource, or one rank");
  }
  const std::string sub_path = SubPath(pod, launch.folder);
  if (sub_path.empty()) {
    return absl::InvalidArgumentError("run folder " + launch.folder.string() + ", wanted one in " +
                                      pod.claim_mount_path + ", where claim " + pod.claim + " is mounted");
  }
  Json labels = LabelsOf(launch);
  Json job = {
      {"apiVersion", "batch/v1"},
      {"kind", "Job"},
      {"metadata",
       {{"name", JobName(launch)}, {"labels", labels}, {"annotations", {{"retort.dev/job", launch.job}}}}},
      {"spec",
       {{"completions", launch.world},
        {"parallelism", launch.world},
        {"completionMode", "Indexed"},
        // A launch that fails is repeated as another Job, by the policy that holds for every launcher.
        {"backoffLimit", 0},
        // Two trainers never work in one run folder: a pod is replaced when it has ended, not before.
        {"podReplacementPolicy", "Failed"},
        {"ttlSecondsAfterFinished", pod.keep_finished.count()},
        {"template",
         {{"metadata",
           {{"labels", labels},
            {"annotations",
             {{"cluster-autoscaler.kubernetes.io/safe-to-evict", "false"}, {"retort.dev/job", launch.job}}}}},
          {"spec", PodSpec(pod, launch, sub_path)}}}}}};
  if (pod.active_deadline.count() > 0) job["spec"]["activeDeadlineSeconds"] = pod.active_deadline.count();
  if (!pod.queue.empty()) {
    job["metadata"]["labels"][kQueueLabel] = pod.queue;
    job["spec"]["suspend"] = true;
  }
  JobObject object;
  object.digest = ledger::HexEncode(ledger::Sha256(job.dump()));
  job["metadata"]["annotations"][kDigestAnnotation] = object.digest;
  if (!owner.empty()) job["metadata"]["ownerReferences"] = Json::array({Json::parse(owner)});
  object.body = job.dump();
  return object;
}

absl::Status CheckOurs(const Object& job, const JobLaunch& launch, const std::string& digest) {
  const Json labels = LabelsOf(launch);
  for (const auto& [name, value] : labels.items()) {
    const auto seen = job.labels.find(name);
    const std::string wanted = value.get<std::string>();
    if (seen == job.labels.end() || seen->second != wanted) {
      return Differs(job, "label " + name, seen == job.labels.end() ? "" : seen->second, wanted);
    }
  }
  const auto seen = job.annotations.find(kDigestAnnotation);
  if (seen == job.annotations.end() || seen->second != digest) {
    return Differs(job, std::string("annotation ") + kDigestAnnotation,
                   seen == job.annotations.end() ? "" : seen->second, digest);
  }
  return absl::OkStatus();
}

}  // namespace retort::kubernetes
