#include "services/command_tree/command_tree.h"

#include <CLI/CLI.hpp>

namespace retort::services {
namespace {

// CLI11 writes a type as "TEXT:{table,json}" or "INT:INT in [1 - 86400]".
std::vector<std::string> ChoicesOf(const std::string& type) {
  const size_t open = type.find(":{");
  if (open == std::string::npos || type.back() != '}') return {};
  return CLI::detail::split(type.substr(open + 2, type.size() - open - 3), ',');
}

CommandOption ReadOption(const CLI::Option& option) {
  CommandOption read;
  for (const std::string& name : option.get_snames()) read.flags.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) read.flags.push_back("--" + name);
  if (option.get_items_expected_max() > 0) {
    const std::string type = option.get_type_name();
    read.choices = ChoicesOf(type);
    read.value = type.substr(0, type.find(':'));
    if (read.value.empty()) read.value = "VALUE";
  }
  if (option.get_positional()) read.value = option.get_name(true);
  read.description = option.get_description();
  read.default_value = option.get_default_str();
  read.environment = option.get_envname();
  read.required = option.get_required();
  return read;
}

void ReadInto(Command& command, const CLI::App& app) {
  command.description = app.get_description();
  command.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    const CommandOption read = ReadOption(*option);
    (read.flags.empty() ? command.positionals : command.options).push_back(read);
  }
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (child->get_group().empty()) continue;
    Command& below = command.commands.emplace_back();
    below.name = child->get_name();
    below.path = command.path + " " + below.name;
    ReadInto(below, *child);
  }
}

void Collect(const Command& command, std::vector<const Command*>& all) {
  all.push_back(&command);
  for (const Command& below : command.commands) Collect(below, all);
}

}  // namespace

Command ReadCommandTree(const CLI::App& app, const std::string& name) {
  Command root;
  root.path = root.name = name;
  ReadInto(root, app);
  return root;
}

std::vector<const Command*> AllCommands(const Command& command) {
  std::vector<const Command*> all;
  Collect(command, all);
  return all;
}

}  // namespace retort::services
