#include "services/command_tree/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/services/command_tree/kitchen.h"

namespace retort::services {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

std::string WriteScript(const std::string& name, const std::string& text) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + "_" + name;
  std::ofstream(path) << text;
  return path;
}

// Standard output of a shell command, line by line; a failure of the command is one of the test.
std::vector<std::string> LinesOf(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string text;
  for (int c = getc(pipe); c != EOF; c = getc(pipe)) text += static_cast<char>(c);
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << text;
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool Have(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null").c_str()) == 0;
}

// What bash offers with the cursor at the end of the last word.
std::vector<std::string> Bash(const std::vector<std::string>& words) {
  const std::string script = WriteScript("kitchen.bash", BashCompletion(KitchenTree()));
  std::string array;
  for (const std::string& word : words) array += " '" + word + "'";
  return LinesOf("cd / && bash -uc \"source " + script + "; COMP_WORDS=(" + array +
                 "); COMP_CWORD=" + std::to_string(words.size() - 1) +
                 "; _kitchen; [[ \\${#COMPREPLY[@]} -eq 0 ]] || printf '%s\\n' \\\"\\${COMPREPLY[@]}\\\"\"");
}

TEST(BashCompletionTest, OffersCommandsAndOptions) {
  EXPECT_THAT(Bash({"kitchen", ""}), UnorderedElementsAre("soup", "bread", "--help", "--output", "--server"));
  EXPECT_THAT(Bash({"kitchen", "so"}), UnorderedElementsAre("soup"));
  EXPECT_THAT(Bash({"kitchen", "soup", ""}), Contains("boil"));
  EXPECT_THAT(Bash({"kitchen", "soup", ""}), Not(Contains("bread")));
  EXPECT_THAT(Bash({"kitchen", "soup", "boil", "--m"}), UnorderedElementsAre("--minutes"));
  EXPECT_THAT(Bash({"kitchen", "soup", "boil", "--ser"}), UnorderedElementsAre("--server"));
}

TEST(BashCompletionTest, OffersTheValuesOfAnOption) {
  EXPECT_THAT(Bash({"kitchen", "--output", ""}), UnorderedElementsAre("table", "tray"));
  EXPECT_THAT(Bash({"kitchen", "soup", "boil", "-o", "tr"}), UnorderedElementsAre("tray"));
  EXPECT_THAT(Bash({"kitchen", "--output", "=", "ta"}), UnorderedElementsAre("table"));
}

TEST(BashCompletionTest, AValueIsNoCommand) {
  // The server is called soup, so the command is still to come.
  EXPECT_THAT(Bash({"kitchen", "--server", "soup", "bre"}), UnorderedElementsAre("bread"));
  EXPECT_THAT(Bash({"kitchen", "nonsense", "x", "--nothing-like-it"}), IsEmpty());
}

TEST(BashCompletionTest, OffersFilesWhereAValueMayBeOne) {
  EXPECT_THAT(Bash({"kitchen", "--server", "/et"}), Contains("/etc"));
  EXPECT_THAT(Bash({"kitchen", "soup", "boil", "/us"}), Contains("/usr"));
}

TEST(ZshCompletionTest, ParsesAndNamesEveryCommand) {
  const std::string text = ZshCompletion(KitchenTree());
  EXPECT_THAT(text, testing::StartsWith("#compdef kitchen\n"));
  EXPECT_THAT(text, HasSubstr("'soup:Soups: the cook'\\''s choice'"));
  EXPECT_THAT(text, HasSubstr("'kitchen soup boil')"));
  EXPECT_THAT(text, Not(HasSubstr("poison")));
  if (!Have("zsh")) GTEST_SKIP() << "zsh is not installed: its own parser has not seen the script";
  LinesOf("zsh -n " + WriteScript("kitchen.zsh", text));
}

TEST(FishCompletionTest, OffersCommandsAndValues) {
  const std::string text = FishCompletion(KitchenTree());
  EXPECT_THAT(text, HasSubstr("= 'kitchen soup'\" -a boil -d 'Boil one'"));
  EXPECT_THAT(text, HasSubstr("-s o -l output -x -a 'table tray'"));
  EXPECT_THAT(text, Not(HasSubstr("poison")));
  if (!Have("fish")) GTEST_SKIP() << "fish is not installed: it has not run the script";
  const std::string script = WriteScript("kitchen.fish", text);
  EXPECT_THAT(LinesOf("fish -c 'source " + script + "; complete -C \"kitchen soup b\"'"),
              Contains(testing::StartsWith("boil")));
  EXPECT_THAT(LinesOf("fish -c 'source " + script + "; complete -C \"kitchen --output t\"'"),
              Contains(testing::StartsWith("tray")));
}

}  // namespace
}  // namespace retort::services
