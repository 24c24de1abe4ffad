// A program's commands and options as plain data, read from its CLI11 parser: what completion scripts and
// manual pages are made from, so that neither can differ from what the program accepts.
#ifndef SERVICES_COMMAND_TREE_COMMAND_TREE_H_
#define SERVICES_COMMAND_TREE_COMMAND_TREE_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace retort::services {

struct CommandOption {
  std::vector<std::string> flags;    // "-o", "--output"; empty for a positional
  std::string value;                 // what it takes, "" for a switch: "FILE", "TEXT", "INT"
  std::vector<std::string> choices;  // the only values there are, when they are few
  std::string description;
  std::string default_value;  // "" when there is none
  std::string environment;    // variable that gives it too, or ""
  bool required = false;
};

struct Command {
  std::string path;  // "retort job create"
  std::string name;  // "create"
  std::string description;
  std::string footer;  // the examples
  std::vector<CommandOption> options;
  std::vector<CommandOption> positionals;
  std::vector<Command> commands;
};

// The tree below `app`, which is called `name`. Options of an outer command that an inner one accepts too are
// listed once, at the outer one.
Command ReadCommandTree(const CLI::App& app, const std::string& name);

// `command` and everything below it, parents first.
std::vector<const Command*> AllCommands(const Command& command);

}  // namespace retort::services

#endif  // SERVICES_COMMAND_TREE_COMMAND_TREE_H_
