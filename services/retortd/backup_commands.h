// `retortd backup` and `retortd restore`: copies of the ledger's logs, made while the server runs, and back.
#ifndef SERVICES_RETORTD_BACKUP_COMMANDS_H_
#define SERVICES_RETORTD_BACKUP_COMMANDS_H_

namespace CLI {
class App;
}

namespace retort::services {

// Adds the two sub-commands to `app`. A callback runs the one that the user picked, prints a line for each
// log on standard output and what went wrong on standard error, and sets `exit_code`: 0 done, 1 not done.
// Without a sub-command `exit_code` keeps its value. `exit_code` outlives the parsing.
void AddBackupCommands(CLI::App& app, int& exit_code);

}  // namespace retort::services

#endif  // SERVICES_RETORTD_BACKUP_COMMANDS_H_
