// Launches of a trainer that is a shell script, in a stand-in cluster.
#ifndef TESTS_SERVICES_JOBS_LAUNCH_FIXTURE_H_
#define TESTS_SERVICES_JOBS_LAUNCH_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <future>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "services/jobs/kubernetes_launcher.h"
#include "tests/services/jobs/test_folder.h"
#include "tests/services/kubernetes/stand_in_api.h"

namespace retort::jobs {

inline constexpr char kUid[] = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";

// What a launch has said so far.
struct Said {
  std::vector<std::string> lines, replayed, waiting;
  std::string promise, position;
};

class LaunchFixture : public testing::Test {
 protected:
  LaunchFixture() : api_(cluster_, folder_.path()) {
    std::filesystem::create_directories(RunFolder());
    options_.server = api_.server();
    options_.name_space = kubernetes::StandInApi::kNamespace;
    options_.pod.image = "registry.example/retort:1";
    options_.pod.claim = "runs";
    options_.pod.claim_mount_path = folder_.path().string();
    options_.pod.run_as_user = options_.pod.run_as_group = 65532;
    options_.pod.grace = std::chrono::seconds(20);
  }

  std::filesystem::path RunFolder() const { return folder_.path() / "jobs/runs" / kUid / "logits"; }
  std::string JobNamed(int number) const {
    return std::string("retort-") + kUid + "-logits-" + std::to_string(number);
  }

  // The pods run this script.
  void Trainer(const std::string& script) { options_.pod.program = folder_.Script("trainer", script); }

  TrainerLaunch ALaunch(int number = 1, int world = 1) {
    TrainerLaunch launch;
    launch.job = "projects/p/jobs/example";
    launch.job_uid = kUid;
    launch.run = "logits";
    launch.number = number;
    launch.world = world;
    launch.arguments = {"--flag", "value"};
    launch.folder = RunFolder();
    launch.order = [this] { return order_.load(); };
    launch.on_line = [this](const TrainerLine& line) {
      std::lock_guard lock(mutex_);
      (line.replayed ? said_.replayed : said_.lines).emplace_back(line.text);
      said_.position = line.position;
    };
    launch.on_waiting = [this](bool away, const std::string& why) {
      std::lock_guard lock(mutex_);
      said_.waiting.push_back((away ? "away: " : "") + why);
    };
    launch.keep_promise = [this](const std::string& promise) {
      std::lock_guard lock(mutex_);
      said_.promise = promise;
      return absl::OkStatus();
    };
    return launch;
  }

  absl::StatusOr<LaunchEnd> Run(const TrainerLaunch& launch) {
    return KubernetesLauncher(options_).Run(launch);
  }
  std::future<absl::StatusOr<LaunchEnd>> RunAside(TrainerLaunch launch) {
    return std::async(std::launch::async, [this, launch] { return Run(launch); });
  }

  Said said() {
    std::lock_guard lock(mutex_);
    return said_;
  }

  // Waits until the predicate holds.
  template <class Predicate>
  bool Eventually(const Predicate& predicate, int seconds = 60) {
    for (int i = 0; i < seconds * 100; ++i) {
      if (predicate()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  bool EventuallyWaits(const std::string& for_what) {
    return Eventually([&] {
      for (const std::string& why : said().waiting) {
        if (why.find(for_what) != std::string::npos) return true;
      }
      return false;
    });
  }
  bool EventuallyLines(size_t count) {
    return Eventually([&] { return said().lines.size() >= count; });
  }
  void Make(const std::string& name) { std::ofstream(folder_.path() / name) << "x"; }
  // A line of a script that waits for Make(name).
  std::string Until(const std::string& name) const {
    return "while [ ! -e \"" + (folder_.path() / name).string() + "\" ]; do sleep 0.02; done\n";
  }

  std::string ReadAll(const std::filesystem::path& path) const {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  TestFolder folder_;
  kubernetes::StandInCluster cluster_;
  kubernetes::StandInApi api_;
  KubernetesOptions options_;
  std::atomic<LaunchOrder> order_{LaunchOrder::kGoOn};
  std::mutex mutex_;
  Said said_;
};

}  // namespace retort::jobs

#endif  // TESTS_SERVICES_JOBS_LAUNCH_FIXTURE_H_
