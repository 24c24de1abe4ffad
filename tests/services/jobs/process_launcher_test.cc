#include "services/jobs/process_launcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <sstream>

#include "tests/services/jobs/test_folder.h"

namespace retort::jobs {
namespace {

// Says its arguments, then plays mpirun: finds -n and the program, and starts that many with the variables
// that Open MPI sets. SIGTERM is passed on.
constexpr char kFakeMpirun[] = R"sh(
echo "mpirun $*" >> "$(dirname "$0")/said"
while [ $# -gt 0 ]; do
  case "$1" in
    -n) world=$2; shift 2;;
    --mca) shift 3;;
    --hostfile|--npernode) shift 2;;
    --*) shift;;
    *) break;;
  esac
done
pids=
trap 'kill -USR1 $pids 2>/dev/null' USR1
rank=0
while [ $rank -lt "$world" ]; do
  OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=$world OMPI_COMM_WORLD_LOCAL_RANK=$rank "$@" &
  pids="$pids $!"
  rank=$((rank + 1))
done
code=0
for pid in $pids; do
  wait "$pid"; one=$?
  while [ $one -gt 128 ] && kill -0 "$pid" 2>/dev/null; do wait "$pid"; one=$?; done
  [ $one = 0 ] || [ $code != 0 ] || code=$one
done
exit $code
)sh";

class ProcessLauncherTest : public testing::Test {
 protected:
  TrainerLaunch ALaunch(int world) {
    TrainerLaunch launch;
    launch.job = "projects/p/jobs/j";
    launch.job_uid = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";
    launch.run = "logits";
    launch.world = world;
    launch.arguments = {"--run", "logits"};
    launch.folder = folder_.path();
    launch.order = [this] { return order_.load(); };
    launch.on_line = [this](const TrainerLine& line) { lines_.emplace_back(line.text); };
    return launch;
  }
  MpirunLauncher Mpirun(const std::string& trainer) {
    MpirunOptions options;
    options.mpirun = folder_.Script("mpirun", kFakeMpirun);
    options.program = folder_.Script("trainer", trainer);
    options.hostfile = folder_.Script("hosts", "");
    options.ranks_per_host = 2;
    options.arguments = {"--oversubscribe"};
    return MpirunLauncher(options);
  }
  std::string ReadAll(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(folder_.path() / name).rdbuf();
    return text.str();
  }

  TestFolder folder_;
  std::atomic<LaunchOrder> order_{LaunchOrder::kGoOn};
  std::vector<std::string> lines_;
};

TEST_F(ProcessLauncherTest, RanksAreChildren) {
  ProcessLauncher launcher(folder_.Script("trainer", "echo \"$RETORT_RANK of $RETORT_WORLD_SIZE: $*\"\n"));
  EXPECT_EQ(launcher.Check(folder_.path()), absl::OkStatus());
  EXPECT_TRUE(launcher.uses_this_machine());
  const auto end = launcher.Run(ALaunch(2));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(lines_, std::vector<std::string>{"0 of 2: --run logits"});
  EXPECT_EQ(launcher.Clear("uid", "logits", nullptr), absl::OkStatus());
}

TEST_F(ProcessLauncherTest, TellsAStopFromAFailure) {
  auto end = ProcessLauncher(folder_.Script("trainer", "exit 3\n")).Run(ALaunch(1));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->well);
  EXPECT_TRUE(end->stopped);
  end = ProcessLauncher(folder_.Script("trainer", "exit 1\n")).Run(ALaunch(1));
  EXPECT_FALSE(end->stopped);
  EXPECT_EQ(end->description, "exit code 1");
  EXPECT_EQ(ProcessLauncher("/nowhere/trainer").Run(ALaunch(1)).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ProcessLauncherTest, MpirunStartsTheRanks) {
  MpirunLauncher launcher =
      Mpirun("[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] && echo \"$OMPI_COMM_WORLD_SIZE: $*\"; exit 0\n");
  ASSERT_EQ(launcher.Check(folder_.path()), absl::OkStatus());
  EXPECT_FALSE(launcher.uses_this_machine());  // it has a hostfile
  const auto end = launcher.Run(ALaunch(4));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well) << end->description;
  EXPECT_EQ(lines_, std::vector<std::string>{"4: --run logits --stop-with-parent"});
  EXPECT_EQ(ReadAll("said"), "mpirun -n 4 --mca odls_base_sigkill_timeout 5 --hostfile " +
                                 (folder_.path() / "hosts").string() + " --npernode 2 --oversubscribe " +
                                 (folder_.path() / "trainer").string() +
                                 " --run logits --stop-with-parent\n");
}

TEST_F(ProcessLauncherTest, MpirunPassesTheStopOn) {
  MpirunLauncher launcher = Mpirun(
      "trap 'exit 3' USR1; [ \"$OMPI_COMM_WORLD_RANK\" = 0 ] && echo ready; while :; do sleep 0.02; done\n");
  TrainerLaunch launch = ALaunch(2);
  launch.on_line = [this](const TrainerLine&) { order_ = LaunchOrder::kStop; };
  const auto end = launcher.Run(launch);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->stopped) << end->description;
}

// What is left of a launch whose server was killed.
TEST_F(ProcessLauncherTest, MpirunWaitsForRanksThatAreStillThere) {
  MpirunLauncher launcher = Mpirun("[ \"$OMPI_COMM_WORLD_RANK\" = 0 ] && echo begun; exit 0\n");
  const int lock = open((folder_.path() / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  std::vector<std::string> waiting;
  TrainerLaunch launch = ALaunch(1);
  launch.on_waiting = [&](bool, const std::string& why) {
    waiting.push_back(why);
    if (!why.empty()) close(lock);  // the last of them leaves
  };
  const auto end = launcher.Run(launch);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(waiting,
            (std::vector<std::string>{"ranks of an earlier launch still write their checkpoint", ""}));
  EXPECT_EQ(lines_, std::vector<std::string>{"begun"});
}

TEST_F(ProcessLauncherTest, MpirunThatIsNotThereIsSaidAtTheStart) {
  MpirunOptions options;
  options.mpirun = "/nowhere/mpirun";
  EXPECT_EQ(MpirunLauncher(options).Check(folder_.path()).code(), absl::StatusCode::kFailedPrecondition);
  options.mpirun = "/bin/sh";
  options.hostfile = "/nowhere/hosts";
  const auto status = MpirunLauncher(options).Check(folder_.path());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("/nowhere/hosts"), std::string::npos);
}

// The real one, where it is installed: its variables, its output, its exit status.
TEST_F(ProcessLauncherTest, OpenMpiItself) {
  if (access("/usr/bin/mpirun", X_OK) != 0)
    GTEST_SKIP() << "/usr/bin/mpirun is not installed (package openmpi-bin)";
  MpirunOptions options;
  options.program = folder_.Script("trainer",
                                   "cd \"$(dirname \"$0\")\"\n"
                                   "trap 'sleep 1; echo stopped; exit 3' USR1\n"
                                   "if [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then\n"
                                   "  trap 'exit 0' USR1\n"
                                   "  echo x > ready\n"
                                   "else\n"
                                   "  while [ ! -e ready ]; do sleep 0.05; done\n"
                                   "  echo \"$OMPI_COMM_WORLD_SIZE ranks\"\n"
                                   "fi\n"
                                   "if [ -e fail ] && [ \"$OMPI_COMM_WORLD_RANK\" = 1 ]; then exit 7; fi\n"
                                   "while [ -e wait ]; do sleep 0.05; done\n");
  options.arguments = {"--allow-run-as-root", "--oversubscribe"};
  MpirunLauncher launcher(options);
  ASSERT_EQ(launcher.Check(folder_.path()), absl::OkStatus());
  auto end = launcher.Run(ALaunch(2));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well) << end->description;
  EXPECT_EQ(lines_, std::vector<std::string>{"2 ranks"});
  std::ofstream(folder_.path() / "fail") << "x";
  end = launcher.Run(ALaunch(2));
  EXPECT_EQ(end->description, "exit code 7");
  std::filesystem::remove(folder_.path() / "fail");
  std::filesystem::remove(folder_.path() / "ready");
  std::ofstream(folder_.path() / "wait") << "x";
  lines_.clear();
  TrainerLaunch launch = ALaunch(2);
  launch.on_line = [this](const TrainerLine& line) {
    lines_.emplace_back(line.text);
    order_ = LaunchOrder::kStop;
  };
  const auto begun = std::chrono::steady_clock::now();
  end = launcher.Run(launch);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->stopped) << end->description;
  EXPECT_EQ(lines_, (std::vector<std::string>{"2 ranks", "stopped"}));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(25));
}

}  // namespace
}  // namespace retort::jobs
