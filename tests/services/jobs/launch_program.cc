// Hosts one launch in a process of its own, for tests that kill it:
//
//   launch_program URL CA TOKEN_FILE NAMESPACE VOLUME PROGRAM RUN_FOLDER JOB_UID NUMBER WORLD
//
// What a jobs service keeps in its database is here the files `promise` and `position` in the volume; each
// line goes to `lines` and its position is kept after it, so a kill between the two shows as a line that is
// there twice. The end goes to `end`. SIGTERM leaves.
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "services/jobs/kubernetes_launcher.h"

namespace {

std::atomic<bool> leave{false};

std::string ReadOr(const std::filesystem::path& path) {
  std::string text;
  std::getline(std::ifstream(path), text);
  return text;
}

void Keep(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path.string() + ".new") << text << "\n";
  std::filesystem::rename(path.string() + ".new", path);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace retort::jobs;
  if (argc != 11) {
    std::cerr << "wanted 10 arguments, saw " << argc - 1 << "\n";
    return 2;
  }
  signal(SIGTERM, [](int) { leave = true; });
  const std::filesystem::path volume = argv[5];
  KubernetesOptions options;
  options.server = {argv[1], argv[2], argv[3]};
  options.name_space = argv[4];
  options.pod.image = "registry.example/retort:1";
  options.pod.program = argv[6];
  options.pod.claim = "runs";
  options.pod.claim_mount_path = volume.string();
  options.pod.run_as_user = options.pod.run_as_group = 65532;

  TrainerLaunch launch;
  launch.job = "projects/p/jobs/example";
  launch.job_uid = argv[8];
  launch.run = "logits";
  launch.number = atoi(argv[9]);
  launch.world = atoi(argv[10]);
  launch.folder = argv[7];
  launch.promise = ReadOr(volume / "promise");
  launch.position = ReadOr(volume / "position");
  launch.order = [] { return leave ? LaunchOrder::kLeave : LaunchOrder::kGoOn; };
  launch.keep_promise = [&](const std::string& promise) {
    Keep(volume / "promise", promise);
    return absl::OkStatus();
  };
  launch.on_line = [&](const TrainerLine& line) {
    if (line.replayed) return;
    std::ofstream(volume / "lines", std::ios::app) << line.text << "\n";
    Keep(volume / "position", std::string(line.position));
  };
  const auto end = KubernetesLauncher(options).Run(launch);
  Keep(volume / "end", !end.ok()   ? std::string(end.status().message())
                       : end->left ? "left"
                                   : (end->well ? "well: " : "ill: ") + end->description);
  return end.ok() ? 0 : 1;
}
