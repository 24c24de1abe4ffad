#include "services/command_tree/manual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/services/command_tree/kitchen.h"

namespace retort::services {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ManualTest, SaysWhatTheCommandTakes) {
  const Command root = KitchenTree();
  const Command& boil = root.commands[0].commands[0];
  EXPECT_EQ(ManualPageName(boil), "kitchen-soup-boil.1");
  const std::string page = ManualPage(root, boil, "1.2.3");
  EXPECT_THAT(page, HasSubstr(".TH \"KITCHEN-SOUP-BOIL\" 1 \"\" \"kitchen 1.2.3\""));
  EXPECT_THAT(page, HasSubstr("kitchen\\-soup\\-boil \\- Boil one\n"));
  EXPECT_THAT(page, HasSubstr("\\fBkitchen soup boil\\fR [\\fIoptions\\fR] \\fIpot\\fR\n"));
  EXPECT_THAT(page, HasSubstr("\\fB\\-\\-minutes\\fR \\fIINT\\fR\nHow long it's boiled\nRequired.\n"));
  EXPECT_THAT(page, HasSubstr(".SH OPTIONS OF EVERY COMMAND\n"));
  EXPECT_THAT(page, HasSubstr("One of \\fBtable\\fR, \\fBtray\\fR."));
  EXPECT_THAT(page, HasSubstr("Environment: \\fBKITCHEN_SERVER\\fR."));
  EXPECT_THAT(page, HasSubstr(".SH SEE ALSO\n\\fBkitchen\\-soup\\fR(1)\n"));
}

TEST(ManualTest, TextIsNeverARequest) {
  const Command root = KitchenTree();
  const std::string page = ManualPage(root, root.commands[0].commands[0], "1");
  EXPECT_THAT(page, HasSubstr("\n  .hidden \\-dash \\eslash"));  // after the two blanks it is text
  Command command{.path = "kitchen", .name = "kitchen", .description = ".so /etc/passwd\n'nor this"};
  const std::string hostile = ManualPage(command, command, "1");
  EXPECT_THAT(hostile, HasSubstr("\\&.so /etc/passwd\n\\&'nor this"));
  EXPECT_THAT(hostile, Not(HasSubstr("\n.so")));
}

TEST(ManualTest, TheRootListsItsCommands) {
  const Command root = KitchenTree();
  const std::string page = ManualPage(root, root, "1");
  EXPECT_THAT(page, HasSubstr("kitchen \\- Cooks what it is told\n"));
  EXPECT_THAT(page, HasSubstr(".TP\n\\fBkitchen soup\\fR\nSoups: the cook's choice\n"));
  EXPECT_THAT(page, Not(HasSubstr("OPTIONS OF EVERY COMMAND")));
}

TEST(ManualTest, MandocFindsNothingWrong) {
  if (std::system("command -v mandoc >/dev/null") != 0) GTEST_SKIP() << "mandoc is not installed";
  const Command root = KitchenTree();
  for (const Command* command : AllCommands(root)) {
    const std::string path =
        testing::TempDir() + "/" + std::to_string(getpid()) + "_" + ManualPageName(*command);
    std::ofstream(path) << ManualPage(root, *command, "1");
    EXPECT_EQ(std::system(("mandoc -T lint -W error " + path).c_str()), 0) << path;
  }
}

}  // namespace
}  // namespace retort::services
