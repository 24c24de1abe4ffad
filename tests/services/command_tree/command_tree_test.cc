#include "services/command_tree/command_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/services/command_tree/kitchen.h"

namespace retort::services {
namespace {

using testing::ElementsAre;

TEST(CommandTreeTest, ReadsWhatTheParserHas) {
  const Command root = KitchenTree();
  std::vector<std::string> paths;
  for (const Command* command : AllCommands(root)) paths.push_back(command->path);
  EXPECT_THAT(paths, ElementsAre("kitchen", "kitchen soup", "kitchen soup boil", "kitchen soup taste",
                                 "kitchen bread"));

  ASSERT_EQ(root.options.size(), 3u);  // --help is one
  const CommandOption& output = root.options[1];
  EXPECT_THAT(output.flags, ElementsAre("-o", "--output"));
  EXPECT_THAT(output.choices, ElementsAre("table", "tray"));
  EXPECT_EQ(root.options[2].environment, "KITCHEN_SERVER");
  EXPECT_TRUE(root.options[2].choices.empty());

  const Command& boil = root.commands[0].commands[0];
  ASSERT_EQ(boil.positionals.size(), 1u);
  EXPECT_EQ(boil.positionals[0].value, "pot");
  EXPECT_TRUE(boil.positionals[0].required);
  ASSERT_EQ(boil.options.size(), 3u);
  EXPECT_EQ(boil.options[1].value, "INT");  // a range is no list of values
  EXPECT_TRUE(boil.options[1].choices.empty());
  EXPECT_EQ(boil.options[2].value, "");
}

}  // namespace
}  // namespace retort::services
