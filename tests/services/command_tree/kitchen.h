// A small program's parser: two levels of commands, an option with few values, positionals, a hidden command.
#ifndef TESTS_SERVICES_COMMAND_TREE_KITCHEN_H_
#define TESTS_SERVICES_COMMAND_TREE_KITCHEN_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "services/command_tree/command_tree.h"

namespace retort::services {

inline Command KitchenTree() {
  CLI::App app("Cooks what it is told.\nAnd more.", "kitchen");
  static std::string text;
  static int number;
  static bool salted;
  app.add_option("-o,--output", text, "How it is served")->check(CLI::IsMember({"table", "tray"}));
  app.add_option("--server", text, "Whose kitchen")->envname("KITCHEN_SERVER");
  CLI::App* soup = app.add_subcommand("soup", "Soups: the cook's choice");
  CLI::App* boil = soup->add_subcommand("boil", "Boil one");
  boil->add_option("pot", text, "Which pot")->required();
  boil->add_option("--minutes", number, "How long it's boiled")->check(CLI::Range(1, 90))->required();
  boil->add_flag("--salt", salted, "With salt");
  boil->footer("Examples:\n  kitchen soup boil big --minutes 10\n  .hidden -dash \\slash");
  soup->add_subcommand("taste", "Taste it");
  app.add_subcommand("bread", "Bake");
  app.add_subcommand("poison", "Never shown")->group("");
  return ReadCommandTree(app, "kitchen");
}

}  // namespace retort::services

#endif  // TESTS_SERVICES_COMMAND_TREE_KITCHEN_H_
