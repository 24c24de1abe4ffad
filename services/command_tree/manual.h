// Manual pages (man(7), section 1) from a program's command tree.
#ifndef SERVICES_COMMAND_TREE_MANUAL_H_
#define SERVICES_COMMAND_TREE_MANUAL_H_

#include <string>

#include "services/command_tree/command_tree.h"

namespace retort::services {

// "retort-job-create.1"
std::string ManualPageName(const Command& command);

// The page of one command: name, synopsis, description, its commands, its options, those that `root` gives to
// every command, examples, and the pages beside it. `version` stands in the footer. The text has no date, so
// that the same program gives the same bytes.
std::string ManualPage(const Command& root, const Command& command, const std::string& version);

}  // namespace retort::services

#endif  // SERVICES_COMMAND_TREE_MANUAL_H_
