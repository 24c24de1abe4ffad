#include "services/kubernetes/training_job.h"

#include <gtest/gtest.h>

#include "nlohmann/json.hpp"

namespace retort::kubernetes {
namespace {

using Json = nlohmann::json;

PodTemplate APod() {
  PodTemplate pod;
  pod.image = "registry.example/retort@sha256:00";
  pod.claim = "retort-runs";
  pod.claim_mount_path = "/var/lib/retort";
  pod.mounts = {{PodTemplate::Mount::Source::kSecret, "trainer-tls", "/etc/retort/tls"}};
  pod.run_as_user = pod.run_as_group = 65532;
  return pod;
}

JobLaunch ALaunch() {
  return {"projects/p/jobs/j",    "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10",        "text_only", 3, 1,
          {"--run", "text_only"}, "/var/lib/retort/jobs/runs/6f1d7a6e/text_only"};
}

// The whole object, so that every field that reaches a cluster is seen here.
constexpr char kWhole[] = R"json({
  "apiVersion": "batch/v1",
  "kind": "Job",
  "metadata": {
    "name": "retort-6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10-text-only-3",
    "labels": {"app.kubernetes.io/name": "retort", "app.kubernetes.io/component": "trainer", "app.kubernetes.io/part-of": "retort",
      "app.kubernetes.io/managed-by": "retort-jobs", "retort.dev/job-uid": "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10",
      "retort.dev/run": "text-only", "retort.dev/launch": "3"},
    "annotations": {"retort.dev/job": "projects/p/jobs/j"}
  },
  "spec": {
    "completions": 1, "parallelism": 1, "completionMode": "Indexed", "backoffLimit": 0, "podReplacementPolicy": "Failed",
    "ttlSecondsAfterFinished": 86400,
    "template": {
      "metadata": {
        "labels": {"app.kubernetes.io/name": "retort", "app.kubernetes.io/component": "trainer", "app.kubernetes.io/part-of": "retort",
          "app.kubernetes.io/managed-by": "retort-jobs", "retort.dev/job-uid": "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10",
          "retort.dev/run": "text-only", "retort.dev/launch": "3"},
        "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "retort.dev/job": "projects/p/jobs/j"}
      },
      "spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": false, "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
          "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
          "name": "trainer", "image": "registry.example/retort@sha256:00", "command": ["retort-train"],
          "args": ["--run", "text_only"],
          "env": [{"name": "RETORT_WORLD_SIZE", "value": "1"}],
          "resources": {},
          "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
          "terminationMessagePolicy": "FallbackToLogsOnError",
          "volumeMounts": [
            {"name": "run", "mountPath": "/var/lib/retort/jobs/runs/6f1d7a6e/text_only", "subPath": "jobs/runs/6f1d7a6e/text_only"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "mount-0", "mountPath": "/etc/retort/tls", "readOnly": true}]
        }],
        "volumes": [
          {"name": "run", "persistentVolumeClaim": {"claimName": "retort-runs"}},
          {"name": "tmp", "emptyDir": {}},
          {"name": "mount-0", "secret": {"secretName": "trainer-tls", "defaultMode": 288}}]
      }
    }
  }
})json";

TEST(TrainingJobTest, IsExactlyThis) {
  const auto job = BuildJob(APod(), ALaunch(), "");
  ASSERT_TRUE(job.ok()) << job.status();
  Json body = Json::parse(job->body);
  EXPECT_EQ(body["metadata"]["annotations"][kDigestAnnotation], job->digest);
  body["metadata"]["annotations"].erase(kDigestAnnotation);
  EXPECT_EQ(body, Json::parse(kWhole)) << Json::diff(Json::parse(kWhole), body).dump(1);
}

TEST(TrainingJobTest, HasWhatIsAskedFor) {
  PodTemplate pod = APod();
  pod.device_resource = "nvidia.com/gpu";
  pod.requests = {{"cpu", "4"}};
  pod.limits = {{"memory", "8Gi"}};
  pod.queue = "gpus";
  pod.priority_class = "low";
  pod.runtime_class = "nvidia";
  pod.service_account = "trainer";
  pod.node_selector = {{"pool", "gpu"}};
  pod.tolerations = {{"nvidia.com/gpu", "Exists", "", "NoSchedule"}};
  pod.image_pull_secrets = {"registry"};
  pod.environment = {{"NCCL_DEBUG", "WARN"}};
  pod.shared_memory = "1Gi";
  pod.active_deadline = std::chrono::hours(2);
  pod.claim_sub_path = "state";
  pod.mounts.push_back({PodTemplate::Mount::Source::kConfigMap, "settings", "/etc/settings"});
  pod.mounts.push_back({PodTemplate::Mount::Source::kClaim, "models", "/models"});
  JobLaunch launch = ALaunch();
  launch.world = 4;
  const auto job =
      BuildJob(pod, launch, R"({"kind":"StatefulSet","name":"jobs","uid":"u","apiVersion":"apps/v1"})");
  ASSERT_TRUE(job.ok()) << job.status();
  const Json body = Json::parse(job->body);
  const Json& spec = body["spec"];
  const Json& template_spec = spec["template"]["spec"];
  const Json& container = template_spec["containers"][0];
  EXPECT_EQ(spec["completions"], 4);
  EXPECT_EQ(spec["parallelism"], 4);
  EXPECT_EQ(spec["suspend"], true);
  EXPECT_EQ(spec["activeDeadlineSeconds"], 7200);
  EXPECT_EQ(body["metadata"]["labels"][kQueueLabel], "gpus");
  EXPECT_EQ(body["metadata"]["ownerReferences"][0]["kind"], "StatefulSet");
  EXPECT_EQ(container["resources"],
            Json::parse(R"({"requests":{"cpu":"4"},"limits":{"memory":"8Gi","nvidia.com/gpu":"1"}})"));
  EXPECT_EQ(container["env"][0]["value"], "4");
  EXPECT_EQ(container["env"][1], Json::parse(R"({"name":"NCCL_DEBUG","value":"WARN"})"));
  EXPECT_EQ(container["volumeMounts"][0]["subPath"], "state/jobs/runs/6f1d7a6e/text_only");
  EXPECT_EQ(template_spec["volumes"].back(),
            Json::parse(R"({"name":"shm","emptyDir":{"medium":"Memory","sizeLimit":"1Gi"}})"));
  EXPECT_EQ(template_spec["volumes"][3],
            Json::parse(R"({"name":"mount-1","configMap":{"name":"settings"}})"));
  EXPECT_EQ(
      template_spec["volumes"][4],
      Json::parse(R"({"name":"mount-2","persistentVolumeClaim":{"claimName":"models","readOnly":true}})"));
  EXPECT_EQ(template_spec["tolerations"],
            Json::parse(R"([{"key":"nvidia.com/gpu","operator":"Exists","effect":"NoSchedule"}])"));
  EXPECT_EQ(template_spec["imagePullSecrets"], Json::parse(R"([{"name":"registry"}])"));
  EXPECT_EQ(template_spec["priorityClassName"], "low");
  EXPECT_EQ(template_spec["runtimeClassName"], "nvidia");
  EXPECT_EQ(template_spec["serviceAccountName"], "trainer");
  EXPECT_EQ(template_spec["nodeSelector"], Json::parse(R"({"pool":"gpu"})"));
  // The owner is another one after an installation is made anew; the Job is the same.
  EXPECT_EQ(job->digest, BuildJob(pod, launch, "")->digest);
  pod.image += "1";
  EXPECT_NE(job->digest, BuildJob(pod, launch, "")->digest);
}

TEST(TrainingJobTest, NamesFitDns) {
  JobLaunch launch = ALaunch();
  launch.number = kLaunchNumberMax;
  EXPECT_LE((JobName(launch) + "-255").size(), 63u);  // a pod's host name
}

TEST(TrainingJobTest, RefusesWhatCannotWork) {
  JobLaunch launch = ALaunch();
  launch.number = kLaunchNumberMax + 1;
  EXPECT_EQ(BuildJob(APod(), launch, "").status().code(), absl::StatusCode::kInvalidArgument);
  launch = ALaunch();
  launch.world = 2;
  const auto no_devices = BuildJob(APod(), launch, "");
  EXPECT_EQ(no_devices.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(no_devices.status().message().find("device_resource"), std::string::npos);
  for (const char* folder :
       {"/elsewhere/run", "/var/lib/retort-other/run", "/var/lib/retort/../run", "relative"}) {
    launch = ALaunch();
    launch.folder = folder;
    EXPECT_EQ(BuildJob(APod(), launch, "").status().code(), absl::StatusCode::kInvalidArgument) << folder;
  }
}

TEST(TrainingJobTest, KnowsItsOwn) {
  const JobLaunch launch = ALaunch();
  const auto job = BuildJob(APod(), launch, "");
  ASSERT_TRUE(job.ok());
  const Json body = Json::parse(job->body);
  Object object;
  object.name = JobName(launch);
  object.labels = body["metadata"]["labels"].get<std::map<std::string, std::string>>();
  object.annotations = body["metadata"]["annotations"].get<std::map<std::string, std::string>>();
  EXPECT_EQ(CheckOurs(object, launch, job->digest), absl::OkStatus());
  const auto other_digest = CheckOurs(object, launch, std::string(64, '0'));
  EXPECT_EQ(other_digest.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(other_digest.message().find(kDigestAnnotation), std::string::npos);
  object.labels[kManagedByLabel] = "Helm";
  const auto other_manager = CheckOurs(object, launch, job->digest);
  EXPECT_EQ(other_manager.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(other_manager.message().find("'Helm'"), std::string::npos) << other_manager;
  object.labels.erase(kManagedByLabel);
  EXPECT_EQ(CheckOurs(object, launch, job->digest).code(), absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace retort::kubernetes
