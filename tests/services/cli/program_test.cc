// Runs `retort` as a person would, without a server.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "services/demo/child_process.h"

namespace retort::services {
namespace {

CommandResult Retort(std::vector<std::string> arguments) {
  static int runs = 0;
  const std::string scratch =
      testing::TempDir() + "/retort_" + std::to_string(getpid()) + "_" + std::to_string(++runs);
  std::filesystem::create_directories(scratch);
  arguments.insert(arguments.begin(), RETORT_PROGRAM);
  auto result = RunCommand(arguments, scratch, std::chrono::seconds(60));
  std::filesystem::remove_all(scratch);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : CommandResult{-1, "", ""};
}

TEST(ProgramTest, PrintsItsVersion) {
  const CommandResult result = Retort({"version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out.rfind("retort ", 0), 0u) << result.out;
  EXPECT_EQ(Retort({"version", "-o", "json"}).out.rfind("{\"version\":", 0), 0u);
}

TEST(ProgramTest, SuggestsTheCommandThatWasMeant) {
  const CommandResult top = Retort({"polcy", "list"});
  EXPECT_EQ(top.exit_code, 2);
  EXPECT_NE(top.err.find("did you mean 'retort policy'?"), std::string::npos) << top.err;
  const CommandResult below = Retort({"--project", "p", "job", "creat"});
  EXPECT_EQ(below.exit_code, 2);
  EXPECT_NE(below.err.find("did you mean 'retort job create'?"), std::string::npos) << below.err;
}

TEST(ProgramTest, WrongUsageIsTwo) {
  EXPECT_EQ(Retort({}).exit_code, 2);
  EXPECT_EQ(Retort({"job", "create"}).exit_code, 2);
  EXPECT_EQ(Retort({"job", "list", "--nonsense"}).exit_code, 2);
  EXPECT_EQ(Retort({"job", "list", "-o", "xml"}).exit_code, 2);
}

TEST(ProgramTest, HelpIsZeroAndOnStandardOutput) {
  const CommandResult result = Retort({"ledger", "verify", "--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.out.find("Examples:"), std::string::npos) << result.out;
  EXPECT_NE(Retort({"help", "exit-codes"}).out.find("130"), std::string::npos);
}

TEST(ProgramTest, EveryVerbShowsTwoExamples) {
  for (const std::vector<std::string>& command : {std::vector<std::string>{"job", "pause"},
                                                  {"job", "retry"},
                                                  {"job", "logs"},
                                                  {"job", "update"},
                                                  {"job", "delete"},
                                                  {"job", "list"},
                                                  {"sample", "list"},
                                                  {"sample", "get"},
                                                  {"sample", "approve"},
                                                  {"sample", "reject"},
                                                  {"policy", "revise"},
                                                  {"policy", "revisions"},
                                                  {"policy", "activate"},
                                                  {"operation", "list"},
                                                  {"operation", "get"},
                                                  {"operation", "wait"},
                                                  {"operation", "cancel"},
                                                  {"operation", "delete"},
                                                  {"ledger", "audit"},
                                                  {"cost"}}) {
    std::vector<std::string> arguments = command;
    arguments.push_back("--help");
    const CommandResult result = Retort(arguments);
    EXPECT_EQ(result.exit_code, 0) << command.back();
    const size_t examples = result.out.find("Examples:");
    ASSERT_NE(examples, std::string::npos) << result.out;
    const size_t first = result.out.find("\n  retort ", examples);
    ASSERT_NE(first, std::string::npos) << result.out;
    EXPECT_NE(result.out.find("\n  retort ", first + 1), std::string::npos) << result.out;
  }
}

TEST(ProgramTest, DeletingAsksAndWithoutATerminalRefuses) {
  const CommandResult result = Retort({"job", "delete", "kitchen"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("--yes"), std::string::npos) << result.err;
}

TEST(ProgramTest, FormsOfTheVersion) {
  EXPECT_EQ(Retort({"version", "-o", "yaml"}).out.rfind("\"version\": ", 0), 0u);
  EXPECT_EQ(Retort({"version", "-o", "name"}).exit_code, 2) << "a version has no name";
}

TEST(ProgramTest, AskingDrawsUnlessToldOtherwise) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"teacher", "ask", "--help"}, {"chat", "--help"}}) {
    const std::string help = Retort(command).out;
    for (const char* flag : {"--system", "--temperature FLOAT:FLOAT in [0 - 2]=0.7",
                             "--top-p FLOAT:FLOAT in [0 - 1]=0.9", "--seed", "--max-tokens"}) {
      EXPECT_NE(help.find(flag), std::string::npos) << flag << "\n" << help;
    }
  }
}

TEST(ProgramTest, VerifyWithoutAKeyRefusesAndNamesTheFlag) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"audit", "verify", "/nowhere"}, {"ledger", "verify"}}) {
    const CommandResult result = Retort(command);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find("--key LOG.vkey"), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST(ProgramTest, NoServerIsSixAndSaysWhatToAdd) {
  const CommandResult result = Retort({"--dev-dir", "/nowhere", "job", "list"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_NE(result.err.find("--server"), std::string::npos) << result.err;
}

TEST(ProgramTest, MissingTlsFileIsNamed) {
  const CommandResult result = Retort({"--server", "127.0.0.1:1", "--tls-ca", "/nowhere/ca", "--tls-cert",
                                       "/nowhere/cert", "--tls-key", "/nowhere/key", "job", "list"});
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_NE(result.err.find("/nowhere/"), std::string::npos) << result.err;
}

TEST(ProgramTest, KeyGoesRound) {
  const std::string file = testing::TempDir() + "/key_" + std::to_string(getpid());
  std::filesystem::remove(file);
  const CommandResult made = Retort({"key", "generate", "--name", "acme/teacher", "--out", file});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.out.rfind("acme/teacher+", 0), 0u);
  const CommandResult shown = Retort({"key", "show", file});
  EXPECT_EQ(shown.out, made.out);
  EXPECT_EQ(Retort({"key", "generate", "--name", "acme/teacher", "--out", file}).exit_code, 6);
  std::filesystem::remove(file);
}

TEST(ProgramTest, PolicyCheckDecidesOffline) {
  const std::string packs = std::string(RETORT_SOURCE_DIR) + "/policy/packs";
  const CommandResult result =
      Retort({"policy", "check", "--facts",
              std::string(RETORT_SOURCE_DIR) + "/deploy/examples/facts-openai.yaml", "--packs", packs});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(result.out.rfind("deny\n", 0), 0u) << result.out;
  EXPECT_NE(result.out.find("openai.services-agreement"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace retort::services
