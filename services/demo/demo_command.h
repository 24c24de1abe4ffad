// `retort demo`.
#ifndef SERVICES_DEMO_DEMO_COMMAND_H_
#define SERVICES_DEMO_DEMO_COMMAND_H_

#include "services/cli/cli.h"

namespace retort::services {

void AddDemoCommand(CLI::App& app, Cli& cli);

}  // namespace retort::services

#endif  // SERVICES_DEMO_DEMO_COMMAND_H_
