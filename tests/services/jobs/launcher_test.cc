#include "services/jobs/launcher.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "tests/services/jobs/test_folder.h"

namespace retort::jobs {
namespace {

class RunProgramTest : public testing::Test {
 protected:
  ProgramRun Run(const std::string& script) {
    ProgramRun run;
    run.program = folder_.Script("program", script);
    run.stderr_path = (folder_.path() / "log").string();
    run.on_line = [this](std::string_view line) { lines_.emplace_back(line); };
    return run;
  }

  std::string Log() const {
    std::stringstream text;
    text << std::ifstream(folder_.path() / "log").rdbuf();
    return text.str();
  }

  TestFolder folder_;
  std::vector<std::string> lines_;
};

TEST_F(RunProgramTest, PassesLinesArgumentsAndErrors) {
  ProgramRun run = Run("echo \"$1|$2\"; printf 'no newline'; echo trouble >&2");
  run.arguments = {"a b", ""};
  const auto end = RunProgram(run);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->exit_code, 0);
  EXPECT_EQ(lines_, (std::vector<std::string>{"a b|", "no newline"}));
  EXPECT_EQ(Log(), "trouble\n");
}

TEST_F(RunProgramTest, TellsExitCodesFromSignals) {
  auto end = RunProgram(Run("exit 3"));
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->Describe(), "exit code 3");
  end = RunProgram(Run("kill -9 $$"));
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->signal, SIGKILL);
  EXPECT_EQ(end->Describe(), "signal 9 (Killed)");
}

TEST_F(RunProgramTest, MissingProgramIsNotFound) {
  ProgramRun run = Run("");
  run.program = (folder_.path() / "nothing").string();
  EXPECT_EQ(RunProgram(run).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RunProgramTest, UnwritableLogIsFailedPrecondition) {
  ProgramRun run = Run("");
  run.stderr_path = (folder_.path() / "none" / "log").string();
  EXPECT_EQ(RunProgram(run).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RunProgramTest, StopAsksFirst) {
  ProgramRun run = Run("trap 'echo stopped; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  run.should_stop = [this] { return !lines_.empty(); };
  const auto end = RunProgram(run);
  ASSERT_TRUE(end.ok());
  EXPECT_TRUE(end->stopped);
  EXPECT_EQ(end->signal, 0);
  EXPECT_EQ(lines_, (std::vector<std::string>{"ready", "stopped"}));
}

TEST_F(RunProgramTest, StopKillsAfterGrace) {
  ProgramRun run = Run("trap '' TERM; echo ready; while :; do sleep 0.01; done");
  run.should_stop = [this] { return !lines_.empty(); };
  run.grace = std::chrono::milliseconds(50);
  const auto end = RunProgram(run);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(end->signal, SIGKILL);
}

TEST_F(RunProgramTest, MustStopKillsAtOnce) {
  ProgramRun run = Run("trap 'echo stopped; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  run.must_stop = [this] { return !lines_.empty(); };
  const auto end = RunProgram(run);
  ASSERT_TRUE(end.ok());
  EXPECT_TRUE(end->stopped);
  EXPECT_EQ(end->signal, SIGKILL);
}

TEST_F(RunProgramTest, LongLinesAreCut) {
  const auto end = RunProgram(Run("head -c 200000 /dev/zero | tr '\\0' x; echo; echo next"));
  ASSERT_TRUE(end.ok());
  ASSERT_EQ(lines_.size(), 2u);
  EXPECT_EQ(lines_[0].size(), kOutputLineBytesMax);
  EXPECT_EQ(lines_[1], "next");
}

TEST_F(RunProgramTest, ChildHoldsNoOtherDescriptors) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // without close-on-exec, as a careless library would open it
  ASSERT_LT(ends[1], 10);    // the shell keeps its script open at 10
  const auto end =
      RunProgram(Run("for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true"));
  close(ends[0]);
  close(ends[1]);
  ASSERT_TRUE(end.ok());
  EXPECT_EQ(lines_, std::vector<std::string>{});
}

// A server that is killed leaves no trainer behind.
TEST_F(RunProgramTest, ChildDiesWithItsParent) {
  const std::string pid_file = (folder_.path() / "pid").string();
  ProgramRun run =
      Run("echo $$ > '" + pid_file + ".new'; mv '" + pid_file + ".new' '" + pid_file + "'; exec sleep 60");
  const pid_t server = fork();
  if (server == 0) {
    RunProgram(run).IgnoreError();
    _exit(0);
  }
  pid_t child = 0;
  for (int i = 0; i < 500 && !(std::ifstream(pid_file) >> child); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_GT(child, 0);
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  // The orphan is a zombie or gone once the signal has reached it.
  std::string state = "R";
  for (int i = 0; i < 500 && !state.empty() && state != "Z"; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::string pid, name;
    state.clear();
    std::ifstream("/proc/" + std::to_string(child) + "/stat") >> pid >> name >> state;
  }
  EXPECT_TRUE(state.empty() || state == "Z") << state;
}

TEST_F(RunProgramTest, EnvironmentIsAddedAndReplaced) {
  setenv("RETORT_TEST_VARIABLE", "inherited", 1);
  ProgramRun run = Run("echo \"$RETORT_TEST_VARIABLE|$RETORT_TEST_OTHER|$HOME\"");
  run.environment = {"RETORT_TEST_VARIABLE=replaced", "RETORT_TEST_OTHER=added"};
  ASSERT_TRUE(RunProgram(run).ok());
  EXPECT_EQ(lines_, (std::vector<std::string>{std::string("replaced|added|") + getenv("HOME")}));
}

TEST_F(RunProgramTest, RanksKnowTheirPlaceAndRankZeroSpeaks) {
  ProgramRun run = Run("echo \"$RETORT_RANK of $RETORT_WORLD_SIZE\"; echo \"rank $RETORT_RANK\" >&2");
  const auto end = RunRanks(run, 3);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->Describe(), "exit code 0");
  EXPECT_EQ(lines_, (std::vector<std::string>{"0 of 3"}));
  for (const char* line : {"rank 0\n", "rank 1\n", "rank 2\n"})
    EXPECT_NE(Log().find(line), std::string::npos);
}

TEST_F(RunProgramTest, OneFailedRankEndsTheOthers) {
  ProgramRun run = Run("if [ $RETORT_RANK = 1 ]; then kill -9 $$; fi; while :; do sleep 0.01; done");
  const auto begun = std::chrono::steady_clock::now();
  const auto end = RunRanks(run, 3, std::chrono::milliseconds(200));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->signal, SIGKILL);  // rank 0, which would have gone on for ever
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
}

TEST_F(RunProgramTest, FailureOfAnotherRankIsTheRunsFailure) {
  const auto end = RunRanks(Run("if [ $RETORT_RANK = 2 ]; then exit 7; fi"), 3);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->Describe(), "exit code 7");
}

}  // namespace
}  // namespace retort::jobs
