// The process that hosts a launch is killed at any moment, again and again; the cluster goes on, one Job is
// made, and every line of the trainer is worked on.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "tests/services/jobs/launch_fixture.h"

namespace retort::jobs {
namespace {

class LauncherRestartTest : public LaunchFixture {
 protected:
  pid_t Host() {
    const kubernetes::ApiServer server = api_.server();
    std::vector<std::string> words = {LAUNCH_PROGRAM,
                                      server.url,
                                      server.authorities_file,
                                      server.token_file,
                                      options_.name_space,
                                      folder_.path().string(),
                                      options_.pod.program,
                                      RunFolder().string(),
                                      kUid,
                                      "1",
                                      "1"};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t pid = 0;
    EXPECT_EQ(posix_spawn(&pid, LAUNCH_PROGRAM, nullptr, nullptr, arguments.data(), environ), 0);
    return pid;
  }
  static int Await(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return status;
  }
  std::vector<std::string> Lines() const {
    std::vector<std::string> lines;
    std::ifstream file(folder_.path() / "lines");
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }
};

TEST_F(LauncherRestartTest, KilledInTheMiddleOfARun) {
  Trainer("echo '{\"line\":1}'; echo '{\"line\":2}'\n" + Until("go") + "echo '{\"line\":3}'\n");
  pid_t host = Host();
  ASSERT_TRUE(Eventually([&] { return Lines().size() >= 2; }));
  kill(host, SIGKILL);
  Await(host);
  host = Host();
  Make("go");
  EXPECT_EQ(Await(host), 0);
  EXPECT_EQ(ReadAll(folder_.path() / "end"), "well: exit code 0\n");
  // The kill may have come between a line and its position; never is one lost.
  const std::vector<std::string> lines = Lines();
  ASSERT_GE(lines.size(), 3u);
  ASSERT_LE(lines.size(), 4u);
  EXPECT_EQ(lines.front(), "{\"line\":1}");
  EXPECT_EQ(lines.back(), "{\"line\":3}");
  EXPECT_EQ(cluster_.created(), 1);
  EXPECT_EQ(cluster_.alive_at_once_max(), 1);
}

TEST_F(LauncherRestartTest, KilledManyTimesFromTheFirstMoment) {
  Trainer("for i in 1 2 3 4 5; do echo '{\"line\":'$i'}'; sleep 0.2; done\n" + Until("go"));
  std::mt19937 random(7);
  int kills = 0;
  for (; kills < 12; ++kills) {
    const pid_t host = Host();
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + random() % 250));
    kill(host, SIGKILL);
    Await(host);
  }
  Make("go");
  EXPECT_EQ(Await(Host()), 0);
  EXPECT_EQ(ReadAll(folder_.path() / "end"), "well: exit code 0\n");
  std::vector<std::string> lines = Lines();
  EXPECT_LE(lines.size(), 5u + static_cast<size_t>(kills));
  std::sort(lines.begin(), lines.end());
  lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
  EXPECT_EQ(lines.size(), 5u);
  EXPECT_EQ(cluster_.created(), 1);
  EXPECT_EQ(cluster_.alive_at_once_max(), 1);
}

// What a rolling upgrade of the server does.
TEST_F(LauncherRestartTest, ToldToStopItLeavesTheRun) {
  Trainer("trap 'exit 3' TERM; echo '{\"line\":1}'\n" + Until("go"));
  const pid_t host = Host();
  ASSERT_TRUE(Eventually([&] { return Lines().size() == 1; }));
  kill(host, SIGTERM);
  EXPECT_EQ(Await(host), 0);
  EXPECT_EQ(ReadAll(folder_.path() / "end"), "left\n");
  EXPECT_EQ(cluster_.Names("Pod").size(), 1u);
  Make("go");
  EXPECT_EQ(Await(Host()), 0);
  EXPECT_EQ(ReadAll(folder_.path() / "end"), "well: exit code 0\n");
  EXPECT_EQ(Lines().size(), 1u);
  EXPECT_EQ(cluster_.created(), 1);
}

}  // namespace
}  // namespace retort::jobs
