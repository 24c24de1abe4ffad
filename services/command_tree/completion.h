// Completion scripts for shells, from a program's command tree: commands, options, the values of an option
// that has few, and file names for the rest.
#ifndef SERVICES_COMMAND_TREE_COMPLETION_H_
#define SERVICES_COMMAND_TREE_COMPLETION_H_

#include <string>

#include "services/command_tree/command_tree.h"

namespace retort::services {

// Each text is sourced by its shell, or put where the shell looks for completions. Options of the root are
// offered at every command.
std::string BashCompletion(const Command& root);
std::string ZshCompletion(const Command& root);
std::string FishCompletion(const Command& root);

}  // namespace retort::services

#endif  // SERVICES_COMMAND_TREE_COMPLETION_H_
