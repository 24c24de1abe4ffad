#include "services/edge/launcher_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "services/edge/server_config.h"

namespace retort::services {
namespace {

constexpr char kJobsRole[] = R"(deployment: retort.example
listen: 0.0.0.0:7443
data_dir: /var/lib/retort
tls: {certificate: a, private_key: b, authorities: c}
keys: {jobs: j, trainer: t}
peers: {teacher: "t:1", policy: "p:1", ledger: "l:1"}
access_file: access.yaml
training_launcher:
)";

// In the flow style, so that a test replaces one member.
constexpr char kVolume[] = "run_volume: {claim: retort-runs, mount_path: /var/lib/retort/jobs/runs}";
constexpr char kFiles[] =
    "files: {certificate: /t/c, private_key: /t/k, authorities: /t/a, signing_key: /k/trainer.key}";

// Tests of this file run at the same time, each in a process of its own.
std::string ConfigPath() {
  return testing::TempDir() + "/launcher_" + std::to_string(getpid()) + ".yaml";
}

absl::Status LoadLauncher(const std::string& launcher, const std::set<std::string>& roles = {"jobs"}) {
  const std::string path = ConfigPath();
  std::ofstream(path) << kJobsRole << "  " << launcher << "\n";
  return LoadServerConfig(path, roles).status();
}

std::string Kubernetes(const std::string& more) {
  return std::string("kubernetes: {image: \"r/retort:1\", ") + kVolume + ", " + kFiles +
         (more.empty() ? "" : ", " + more) + "}";
}

TEST(LauncherConfigTest, TakesEachLauncher) {
  EXPECT_EQ(LoadLauncher("processes: {}"), absl::OkStatus());
  EXPECT_EQ(LoadLauncher("mpirun: {hostfile: /etc/hosts, ranks_per_host: 8, device: cuda}"),
            absl::OkStatus());
  EXPECT_EQ(LoadLauncher(Kubernetes("")), absl::OkStatus());
  EXPECT_EQ(LoadLauncher(Kubernetes(
                "namespace: train, jobs: \"retort-jobs:7443\", device_resource: nvidia.com/gpu, "
                "requests: {cpu: 500m, memory: 4Gi}, limits: {memory: 8Gi}, queue: gpus, grace: 120s, "
                "keep_finished: 3600s, active_deadline: 86400s, shared_memory: 1Gi, run_as_user: 65532, "
                "node_selector: {pool: gpu}, environment: {NCCL_DEBUG: WARN}, "
                "tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}], "
                "mounts: [{mount_path: /t, secret: tls}, {mount_path: /k, secret: keys}]")),
            absl::OkStatus());
}

TEST(LauncherConfigTest, NamesWhatIsWrong) {
  const std::pair<std::string, const char*> bad[] = {
      {"{}", "training_launcher"},
      {"mpirun: {program: mpirun}", "mpirun.program"},
      {"mpirun: {ranks_per_host: 257}", "ranks_per_host"},
      {std::string("kubernetes: {") + kVolume + ", " + kFiles + "}", "kubernetes.image"},
      {std::string("kubernetes: {image: i, ") + kFiles + "}", "run_volume"},
      {std::string("kubernetes: {image: i, ") + kVolume + "}", "files.certificate"},
      {std::string("kubernetes: {image: i, ") + kFiles +
           ", run_volume: {claim: retort-runs, mount_path: /elsewhere}}",
       "run_volume.mount_path"},
      {std::string("kubernetes: {image: i, ") + kFiles +
           ", run_volume: {claim: Retort_Runs, mount_path: /var/lib/retort}}",
       "run_volume.claim"},
      {Kubernetes("api: {url: \"http://127.0.0.1:6443\", authorities: a, token_file: t}, namespace: n"),
       "api.url"},
      {Kubernetes("api: {url: \"https://127.0.0.1:6443\", authorities: a, token_file: t}"), "namespace"},
      {Kubernetes("namespace: Train"), "namespace"},
      {Kubernetes("jobs: retort-jobs"), "kubernetes.jobs"},
      {Kubernetes("device_resource: gpu"), "device_resource"},
      {Kubernetes("requests: {nvidia.com/gpu: \"1\"}"), "requests"},
      {Kubernetes("limits: {memory: 8GB}"), "limits.memory"},
      {Kubernetes("grace: 5s"), "grace"},
      {Kubernetes("grace: 30.5s"), "grace"},
      {Kubernetes("environment: {RETORT_RANK: \"0\"}"), "environment"},
      {Kubernetes("mounts: [{mount_path: /t}]"), "mounts"},
      {Kubernetes("mounts: [{mount_path: /t, secret: a}, {mount_path: /t, secret: b}]"), "mounts.mount_path"},
      {Kubernetes("mounts: [{mount_path: t, secret: a}]"), "mounts.mount_path"},
      {Kubernetes("tolerations: [{operator: Maybe}]"), "tolerations.operator"},
      {Kubernetes("run_as_user: -1"), "run_as_user"},
  };
  for (const auto& [launcher, field] : bad) {
    const absl::Status status = LoadLauncher(launcher);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << launcher;
    EXPECT_NE(status.message().find(field), std::string::npos) << launcher << ": " << status;
  }
}

TEST(LauncherConfigTest, RefusesWhatHasNoUse) {
  const std::string path = ConfigPath();
  std::ofstream(path) << kJobsRole << "  " << Kubernetes("") << "\nmetrics_dir: /m\n";
  EXPECT_NE(LoadServerConfig(path, {"jobs"}).status().message().find("metrics_dir"), std::string::npos);
  std::ofstream(path) << "deployment: retort.example\nlisten: 127.0.0.1:1\ndata_dir: d\n"
                         "tls: {certificate: a, private_key: b, authorities: c}\n"
                         "packs_dir: p\nkeys: {policy: k}\npeers: {ledger: \"l:1\"}\naccess_file: a\n"
                         "training_launcher: {processes: {}}\n";
  EXPECT_NE(LoadServerConfig(path, {"policy"}).status().message().find("training_launcher"),
            std::string::npos);
}

}  // namespace
}  // namespace retort::services
